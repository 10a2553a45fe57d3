// The worker: writes text with the compiled kernels, slice by slice, and answers questions about what it wrote.
"use strict";

const CALL_MS = 12;        // time of one compiled call, short enough that a stop is heard
const MOST_CHARS = 256;    // characters of a call
const EVERY = 512;         // characters between two snapshots, from which an earlier place is read again
const NO_END = -1;

class Writer {
    constructor(wasm, image, boundary) {
        this.wasm = new WebAssembly.Instance(wasm).exports;
        const at = this.wasm.charloom_alloc(image.length);
        if (at === 0) throw new Error("there is not enough memory for the model");
        new Uint8Array(this.wasm.memory.buffer).set(image, at);
        this.end = boundary ?? NO_END;
        this.stream = this.open(at, image.length);
        this.second = this.open(at, image.length);     // reads an earlier place again while the first stays at the end
        this.vocabSize = this.wasm.charloom_vocab_size(this.stream);
        this.stateSize = this.wasm.charloom_state_size(this.stream);
        this.callChars = 1;
        this.rule = null;
        this.forget();
    }

    open(image, size) {
        const stream = this.wasm.charloom_open(image, size, MOST_CHARS, 0);
        if (stream === 0) throw new Error(this.textAt(this.wasm.charloom_error()));
        return stream;
    }

    textAt(address) {
        const bytes = new Uint8Array(this.wasm.memory.buffer);
        return new TextDecoder().decode(bytes.slice(address, bytes.indexOf(0, address)));
    }

    forget() {
        this.ids = [];         // everything read: the prompt, then what was written
        this.promptSize = 0;
        this.snapshots = [];
        this.wasm.charloom_begin(this.stream, 0);
    }

    ban(ids) {
        for (const stream of [this.stream, this.second])
            for (const id of ids) new Uint8Array(this.wasm.memory.buffer)[this.wasm.charloom_banned(stream) + id] = 1;
    }

    // {seed, temperature, topK, topP, minP}; takes effect with the next character.
    choose({ seed, temperature, topK, topP, minP }) {
        const key0 = Number(seed & 0xFFFFFFFFn), key1 = Number(seed >> 32n & 0xFFFFFFFFn);
        this.wasm.charloom_rule(
            this.stream, key0, key1, temperature, topK ?? this.vocabSize, topP ?? 1, minP ?? 0, 1, this.end);
    }

    state(stream) { return new Float32Array(this.wasm.memory.buffer, this.wasm.charloom_state(stream), this.stateSize); }

    logits(stream) { return new Float32Array(this.wasm.memory.buffer, this.wasm.charloom_logits(stream), this.vocabSize); }

    snapshot() {
        const at = this.ids.length;
        if (at - (this.snapshots.at(-1)?.at ?? 0) >= EVERY)
            this.snapshots.push({ at, state: this.state(this.stream).slice(), logits: this.logits(this.stream).slice() });
    }

    // Read ids into a stream.
    read(stream, ids) {
        for (let done = 0; done < ids.length; done += MOST_CHARS) {
            const piece = ids.slice(done, done + MOST_CHARS);
            new BigInt64Array(this.wasm.memory.buffer, this.wasm.charloom_ids(stream), piece.length).set(piece.map(BigInt));
            if (this.wasm.charloom_read(stream, piece.length) < 0) throw new Error("an id is not in the vocabulary");
        }
    }

    begin(prompt) {
        this.forget();
        this.promptSize = prompt.length;
        for (let done = 0; done < prompt.length; done += EVERY) {
            const piece = prompt.slice(done, done + EVERY);
            this.read(this.stream, piece);
            this.ids.push(...piece);
            this.snapshot();
        }
    }

    // Write at most `most` characters, as many as take about CALL_MS: {ids, logProbs}.
    write(most) {
        const began = performance.now(), asked = Math.min(most, this.callChars);
        const n = this.wasm.charloom_write(this.stream, asked);
        if (n < 0) throw new Error("a logit is not finite: the model is damaged, or its training diverged");
        const memory = this.wasm.memory.buffer;
        const ids = Array.from(new BigInt64Array(memory, this.wasm.charloom_ids(this.stream), n), Number);
        const logProbs = new Float64Array(memory, this.wasm.charloom_log_probs(this.stream), n).slice();
        const took = performance.now() - began;
        if (asked === this.callChars)
            this.callChars = took > CALL_MS ? Math.max(1, asked >> 1) : Math.min(2 * asked, MOST_CHARS);
        this.ids.push(...ids);
        this.snapshot();
        return { ids, logProbs, took };
    }

    // Bring a stream to the place before character `at`.
    go(stream, at) {
        const near = this.snapshots.findLast(snapshot => snapshot.at <= at);
        this.wasm.charloom_begin(stream, 0);
        if (near) {
            this.state(stream).set(near.state);
            this.logits(stream).set(near.logits);
        }
        this.read(stream, this.ids.slice(near?.at ?? 0, at));
    }

    // The likeliest characters at place `at`, of all at temperature 1: [{id, probability}].
    alternatives(at, count) {
        this.go(this.second, at);
        const found = [];
        for (let id = 0; id < this.vocabSize; id++)
            found.push({ id, probability: Math.exp(this.wasm.charloom_log_probability(this.second, id)) });
        return found.sort((a, b) => b.probability - a.probability || a.id - b.id).slice(0, count);
    }

    // Forget what was written from character `at` on.
    rewind(at) {
        this.go(this.stream, at);
        this.ids.length = at;
        this.snapshots = this.snapshots.filter(snapshot => snapshot.at <= at);
        this.nextDraw();
    }

    // Replace character `at` by another, and forget what followed.
    fork(at, id) {
        this.rewind(at);
        this.read(this.stream, [id]);
        this.ids.push(id);
        this.nextDraw();
    }

    // A draw belongs to its place: the number of characters written so far.
    nextDraw() {
        const position = new BigInt64Array(this.wasm.memory.buffer, this.wasm.charloom_position(this.stream), 1);
        position[0] = BigInt(this.ids.length - this.promptSize);
    }
}

// Let messages in: unlike a timer, without a pause.
function messagesIn() {
    return new Promise(resume => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => { port1.close(); resume(); };
        port2.postMessage(0);
    });
}

// What the page asks, in a worker. Answers carry the number of the run that they belong to.
class Desk {
    constructor(send) { this.send = send; this.run = 0; this.left = 0; this.isWriting = false; }

    post(message) { this.send({ run: this.run, ...message }); }

    open({ wasm, model, bytes }) {
        const specials = model.vocab.specials, size = model.vocab.symbols.length;
        const boundary = specials.includes("<boundary>") ? size + specials.length - 1 : null;
        this.writer = new Writer(wasm, imageOf(model, bytes), boundary);
        this.writer.ban(specials.map((_, i) => size + i).filter(id => id !== boundary));
        this.post({ kind: "ready" });
    }

    begin({ run, ids, rule, length }) {
        this.writer.begin(ids);
        this.rule({ rule });
        return this.goOn({ run, length });
    }

    rule({ rule }) { this.writer.choose(rule); }

    goOn({ run, length }) {
        this.run = run;
        this.left = length;
        return this.isWriting ? undefined : this.loop();
    }

    stop() { this.left = 0; }

    rewind({ at }) { this.writer.rewind(at); }

    alternatives({ at, count }) { this.post({ kind: "alternatives", at, found: this.writer.alternatives(at, count) }); }

    fork({ run, at, id, rule, length }) {
        this.writer.fork(at, id);
        this.rule({ rule });
        return this.goOn({ run, length });
    }

    async loop() {
        this.isWriting = true;
        let chars = 0, took = 0, ended = "stopped", run = this.run;
        try {
            while (this.left > 0) {
                if (run !== this.run) { chars = 0; took = 0; run = this.run; }
                const { ids, logProbs, took: ms } = this.writer.write(this.left);
                this.left -= ids.length;
                chars += ids.length;
                took += ms;
                this.post({ kind: "text", ids, logProbs });
                ended = ids.at(-1) === this.writer.end ? "boundary" : this.left === 0 ? "length" : "stopped";
                if (ended === "boundary") this.left = 0;
                await messagesIn();
            }
        } finally {
            this.isWriting = false;
        }
        this.post({ kind: "end", reason: ended, charsPerSecond: took > 0 ? 1000 * chars / took : 0 });
    }
}

if (typeof importScripts === "function") {
    const desk = new Desk(message => self.postMessage(message));
    self.onmessage = async ({ data }) => {
        try {
            await desk[data.kind](data);
        } catch (error) {
            self.postMessage({ kind: "error", says: error.message });
        }
    };
}

if (typeof module !== "undefined") module.exports = { Writer };
