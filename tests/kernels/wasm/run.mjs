// Text of a model image by the WebAssembly module: what native/driver.c writes for the same cases.
//
//     node run.mjs MODULE write IMAGE CASES
//     node run.mjs MODULE speed IMAGE SECONDS      characters per second of one stream
import { readFileSync } from "node:fs";

const CAPACITY = 32;

// The module with an image in its memory.
function load(modulePath, imagePath) {
    const { exports: wasm } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(modulePath)));
    const bytes = readFileSync(imagePath);
    const image = wasm.charloom_alloc(bytes.length);
    new Uint8Array(wasm.memory.buffer).set(bytes, image);
    return { wasm, image, size: bytes.length };
}

function textAt(wasm, address) {
    const bytes = new Uint8Array(wasm.memory.buffer);
    return Buffer.from(bytes.subarray(address, bytes.indexOf(0, address))).toString();
}

function open({ wasm, image, size }, capacity, numRecent) {
    const stream = wasm.charloom_open(image, size, capacity, numRecent);
    if (stream === 0) {
        console.log(textAt(wasm, wasm.charloom_error()));
        process.exit(3);
    }
    return stream;
}

// The bits of n numbers of `size` bytes.
function bits(wasm, address, n, size) {
    const view = new DataView(wasm.memory.buffer);
    const words = Array.from({ length: n }, (_, i) =>
        size === 8 ? view.getBigUint64(address + 8 * i, true) : view.getUint32(address + 4 * i, true));
    return words.map(word => word.toString(16).padStart(2 * size, "0"));
}

function readAll(wasm, stream, ids, score) {
    const losses = [];
    for (let done = 0; done < ids.length; done += CAPACITY) {
        const piece = ids.slice(done, done + CAPACITY);
        new BigInt64Array(wasm.memory.buffer, wasm.charloom_ids(stream), piece.length).set(piece.map(BigInt));
        const read = score ? wasm.charloom_score(stream, piece.length) : wasm.charloom_read(stream, piece.length);
        if (read < 0) throw new Error("an id is not in the vocabulary");
        if (score) losses.push(...bits(wasm, wasm.charloom_nats(stream), piece.length, 4));
    }
    return losses;
}

function writeAll(wasm, stream, n, end) {
    const ids = [], logProbs = [];
    while (ids.length < n && (ids.length === 0 || ids.at(-1) !== end)) {
        const found = wasm.charloom_write(stream, Math.min(CAPACITY, n - ids.length));
        if (found < 0) throw new Error("a logit is not finite");
        ids.push(...Array.from(new BigInt64Array(wasm.memory.buffer, wasm.charloom_ids(stream), found), Number));
        logProbs.push(...bits(wasm, wasm.charloom_log_probs(stream), found, 8));
    }
    return { ids, logProbs };
}

function writeCase(loaded, line) {
    const [key0, key1, temperature, topK, topP, minP, penalty, end, sample, numRecent, n, ...prompt] =
        line.split(" ").map(Number);
    const { wasm } = loaded, stream = open(loaded, CAPACITY, numRecent);
    wasm.charloom_rule(stream, key0, key1, temperature, topK, topP, minP, penalty, end);
    wasm.charloom_begin(stream, sample);
    readAll(wasm, stream, prompt, false);
    const { ids, logProbs } = writeAll(wasm, stream, n, end);
    const logits = bits(wasm, wasm.charloom_logits(stream), wasm.charloom_vocab_size(stream), 4);
    wasm.charloom_begin(stream, 0);
    const all = [...prompt, ...ids];
    readAll(wasm, stream, all.slice(0, 1), false);
    return [ids, logProbs, logits, readAll(wasm, stream, all.slice(1), true)].map(row => row.join(" ")).join("\n");
}

function speed(loaded, seconds) {
    const { wasm } = loaded, capacity = 64, stream = open(loaded, capacity, 0);
    new BigInt64Array(wasm.memory.buffer, wasm.charloom_ids(stream), 1)[0] = 0n;
    wasm.charloom_read(stream, 1);
    const measure = limit => {
        const began = performance.now();
        let written = 0, took = 0;
        while ((took = (performance.now() - began) / 1000) < limit) written += wasm.charloom_write(stream, capacity);
        return Math.round(written / took);
    };
    measure(0.3); // until the fast compiler has replaced the first one's code
    return measure(seconds);
}

const [modulePath, verb, imagePath, last] = process.argv.slice(2);
const loaded = load(modulePath, imagePath);
if (verb === "write")
    for (const line of readFileSync(last, "utf8").split("\n").filter(Boolean)) console.log(writeCase(loaded, line));
else console.log(speed(loaded, Number(last)));
