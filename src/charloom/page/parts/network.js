// A model's parameters, unpacked and laid out as the compiled kernels read them: the same bytes as packing.py and image.py.
"use strict";

const LANES = 16;               // rows of a panel
const LINE = 64;                // each part begins at a multiple of as many elements
const HEADER_SIZE = 256;        // bytes
const FOLDED_UP_TO = 1 << 24;   // most numbers in the table of the first layer's product
const CELLS = ["elman", "lstm", "gru", "mingru"];
const ACTIVATIONS = ["tanh", "sigmoid", "relu"];
const MATRICES = ["w_ih", "w_hh", "proj", "gate_up", "down"];
const VECTORS = ["bias", "bias_hn", "norm", "conv_weight", "conv_bias", "mlp_norm"];

// The numbers of float16, in float32.
function widened(halves) {
    const out = new Float32Array(halves.length);
    for (let i = 0; i < halves.length; i++) {
        const half = halves[i], sign = half >> 15 ? -1 : 1, exponent = half >> 10 & 31, fraction = half & 1023;
        if (exponent === 0) out[i] = sign * fraction * 2 ** -24;
        else if (exponent === 31) out[i] = fraction ? NaN : sign * Infinity;
        else out[i] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    }
    return out;
}

// {name: {shape, data, scales}} from the model's list of tensors and their bytes; scales only of int8.
function unpacked(tensors, bytes) {
    const found = {};
    for (const { name, shape, type, at } of tensors) {
        const size = shape.reduce((a, b) => a * b, 1), rows = shape[0];
        const part = (kind, begin, n) => new kind(bytes.slice(begin, begin + n * kind.BYTES_PER_ELEMENT).buffer);
        if (type === "float16") found[name] = { shape, data: widened(part(Uint16Array, at, size)) };
        else if (type === "float32") found[name] = { shape, data: part(Float32Array, at, size) };
        else found[name] = { shape, scales: part(Float32Array, at, rows), data: part(Int8Array, at + 4 * rows, size) };
    }
    return found;
}

// Round to the nearest integer, ties to even.
function rint(x) {
    const near = Math.round(x);
    return Math.abs(x % 1) === 0.5 && near % 2 !== 0 ? near - 1 : near;
}

// A matrix in int8, one scale a row: q = round(w / s), s = max |w| / 127.
function quantised({ shape, data, scales }) {
    if (scales) return { shape, data, scales };
    const [rows, columns] = shape, q = new Int8Array(data.length), s = new Float32Array(rows);
    for (let r = 0; r < rows; r++) {
        const row = data.subarray(r * columns, (r + 1) * columns);
        s[r] = Math.fround(row.reduce((most, w) => Math.max(most, Math.abs(w)), 0) / 127);
        for (let c = 0; c < columns; c++) q[r * columns + c] = rint(Math.fround(row[c] / (s[r] > 0 ? s[r] : 1)));
    }
    return { shape, data: q, scales: s };
}

// Two matrices, one below the other.
function stacked(a, b) {
    const join = (kind, x, y) => { const out = new kind(x.length + y.length); out.set(x); out.set(y, x.length); return out; };
    const shape = [a.shape[0] + b.shape[0], a.shape[1]];
    if (a.scales) return { shape, data: join(Int8Array, a.data, b.data), scales: join(Float32Array, a.scales, b.scales) };
    return { shape, data: join(Float32Array, a.data, b.data) };
}

function transposed({ shape: [rows, columns], data }) {
    const out = new Float32Array(data.length);
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c];
    return { shape: [columns, rows], data: out };
}

// Parts that begin at multiples of LINE elements, joined into one array.
class Parts {
    constructor(kind) { this.kind = kind; this.parts = []; this.size = 0; }

    add(part) {
        const at = this.size;
        this.parts.push([at, part]);
        this.size += Math.ceil(part.length / LINE) * LINE;
        return at;
    }

    joined() {
        const whole = new this.kind(Math.max(1, this.size));
        for (const [at, part] of this.parts) whole.set(part, at);
        return whole;
    }
}

class Packing {
    constructor(model, params) {
        this.config = model.config;
        this.params = params;
        this.int8 = model.precision === "int8";
        this.parts = { numbers: new Parts(Float32Array), small: new Parts(Int8Array), sums: new Parts(Int32Array) };
    }

    // The image of the network: see image.py.
    image() {
        const { config, params } = this, [table, folded] = this.table(), [gates] = params["layers.0.cell.bias"].shape;
        const layers = [];
        for (let i = 0; i < config.num_layers; i++) layers.push(...this.layer(`layers.${i}.`, folded && i === 0));
        const out = this.matrix(config.tie_embeddings ? params.embedding : params["out.weight"]);
        const bias = this.vector(params["out.bias"].data), tableAt = this.vector(table.data);
        const ends = [...out, bias, params.norm ? this.vector(params.norm.data) : -1, tableAt];
        const residual = config.block === "residual", cellSize = params["layers.0.cell.w_hh"]?.shape[1] ?? gates / 2;
        const mlp = residual && params["layers.0.mlp.up"] ? params["layers.0.mlp.up"].shape[0] : 0;
        const shape = [CELLS.indexOf(config.cell), ACTIVATIONS.indexOf(config.activation), residual, folded,
            params["out.bias"].shape[0], config.hidden_size, cellSize, mlp, config.conv_width, table.shape[1],
            config.num_layers];
        return written(shape.map(Number), layers, ends, Object.values(this.parts).map(part => part.joined()));
    }

    // The first layer's input, one row per character, and whether that is the whole product of input and weights.
    table() {
        const { config, params } = this, w = params["layers.0.cell.w_ih"], bias = params["layers.0.cell.bias"].data;
        const embedding = params.embedding, gates = bias.length;
        if (!embedding) {
            const rows = transposed(w);
            for (let i = 0; i < rows.data.length; i++) rows.data[i] += bias[i % gates];
            return [rows, true];
        }
        const [V, E] = embedding.shape;
        if (config.block === "residual" || V * gates > FOLDED_UP_TO) return [embedding, false];
        const rows = new Float32Array(V * gates);
        for (let v = 0; v < V; v++)
            for (let g = 0; g < gates; g++) {
                let sum = 0;
                for (let e = 0; e < E; e++) sum += embedding.data[v * E + e] * w.data[g * E + e];
                rows[v * gates + g] = sum + bias[g];
            }
        return [{ shape: [V, gates], data: rows }, true];
    }

    // The record of a layer: its matrices, and where its vectors begin; −1 for what it lacks.
    layer(prefix, readsTable) {
        const own = name => this.params[prefix + name];
        const matrices = { w_hh: own("cell.w_hh"), proj: own("proj"), down: own("mlp.down") }, at = {};
        if (!readsTable) matrices.w_ih = own("cell.w_ih");
        if (own("mlp.gate")) {
            const pair = [own("mlp.gate"), own("mlp.up")];
            matrices.gate_up = stacked(...(this.int8 ? pair.map(quantised) : pair));
        }
        for (const [name, matrix] of Object.entries(matrices)) if (matrix) at[name] = this.matrix(matrix);
        for (const [name, key] of [["bias", "cell.bias"], ["bias_hn", "cell.bias_hn"], ["norm", "norm"],
            ["conv_bias", "conv.bias"], ["mlp_norm", "mlp_norm"]])
            if (own(key)) at[name] = this.vector(own(key).data);
        if (own("conv.weight")) at.conv_weight = this.vector(transposed(own("conv.weight")).data);
        return [...MATRICES.flatMap(name => at[name] ?? [-1, -1, -1, -1, -1, -1]), ...VECTORS.map(name => at[name] ?? -1)];
    }

    vector(data) { return this.parts.numbers.add(data); }

    // Pack a matrix in panels of 16 rows; its record.
    matrix(given) {
        const [M, N] = given.shape, panels = Math.ceil(M / LANES);
        if (!this.int8) {
            const out = new Float32Array(panels * LANES * N);
            for (let r = 0; r < M; r++)
                for (let c = 0; c < N; c++)
                    out[(Math.floor(r / LANES) * N + c) * LANES + r % LANES] = given.data[r * N + c];
            return [this.parts.numbers.add(out), panels, N, N, -1, -1];
        }
        const { data, scales } = quantised(given), groups = Math.ceil(N / 4);
        const out = new Int8Array(panels * LANES * groups * 4), sums = new Int32Array(panels * LANES);
        const padded = new Float32Array(panels * LANES);
        padded.set(scales);
        for (let r = 0; r < M; r++)
            for (let c = 0; c < N; c++) {
                const panel = Math.floor(r / LANES), group = Math.floor(c / 4), q = data[r * N + c];
                out[((panel * groups + group) * LANES + r % LANES) * 4 + c % 4] = q;
                sums[r] += q;
            }
        const at = this.parts.small.add(out), sumsAt = this.parts.sums.add(sums);
        return [at, panels, groups * 4, N, sumsAt, this.parts.numbers.add(padded)];
    }
}

// The bytes of an image.
function written(shape, layers, ends, [numbers, small, sums]) {
    const words = list => new BigInt64Array(list.map(BigInt));
    const sections = [words(layers), words(ends), numbers, small, sums];
    let size = HEADER_SIZE;
    const begins = sections.map(part => { const at = size; size += Math.ceil(part.byteLength / 64) * 64; return at; });
    const image = new Uint8Array(size);
    image.set(new TextEncoder().encode("charloom"));
    const header = [1, size, 4, ...shape, ...begins, numbers.length, small.length, sums.length];
    image.set(new Uint8Array(words(header).buffer), 8);
    sections.forEach((part, i) => image.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), begins[i]));
    return image;
}

// The image of a model from the page's description and its bytes.
function imageOf(model, bytes) { return new Packing(model, unpacked(model.tensors, bytes)).image(); }

if (typeof module !== "undefined") module.exports = { imageOf, widened };
