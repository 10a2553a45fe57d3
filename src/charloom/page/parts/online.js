// Models on this page's server: it answers as the worker of an exported page does.
"use strict";

// What the page asks, by the completions interface. Answers carry the number of the run that they belong to.
class Server {
    constructor(model, send) {
        Object.assign(this, { model, send, ids: [], left: 0, run: 0, request: null });
        const { unit, symbols, specials } = model.vocab;
        const name = code => unit === "byte" && code >= 0x80 ? `bytes:\\x${code.toString(16)}` : String.fromCodePoint(code);
        this.names = [...symbols.map(name), ...specials];
        this.idOf = new Map(this.names.map((text, id) => [text, id]));
    }

    post(message) { this.send({ run: this.run, ...message }); }

    ask(message) {
        Promise.resolve(this[message.kind](message)).catch(error => {
            if (error.name !== "AbortError") this.post({ kind: "error", says: error.message });
        });
    }

    begin({ run, ids, rule, length }) {
        this.ids = [...ids];
        this.begun = ids.length;
        return this.goOn({ run, length }, this.rule({ rule }));
    }

    // A change of the settings while text arrives: the rest is asked for anew.
    rule({ rule }) {
        this.now = rule;
        if (this.request) return this.goOn({ run: this.run, length: this.left });
    }

    fork({ run, at, id, rule, length }) {
        this.ids = [...this.ids.slice(0, at), id];
        this.rule({ rule });
        return this.goOn({ run, length });
    }

    rewind({ at }) { this.ids.length = at; }

    stop() {
        this.request?.abort();
        this.request = null;
        this.post({ kind: "end", reason: "stopped", charsPerSecond: 0 });
    }

    async goOn({ run, length }) {
        this.request?.abort();
        const request = this.request = new AbortController();
        Object.assign(this, { run, left: length });
        const began = performance.now();
        let chars = 0, ended = "length";
        const written = BigInt(this.ids.length - this.begun);
        for await (const { text, reason } of this.completion(this.ids, { length, rule: this.now, shift: written, stream: true, top: 0 }, request)) {
            const ids = text.tokens.map(token => this.idOf.get(token));
            this.ids.push(...ids);
            this.left -= ids.length;
            chars += ids.length;
            if (ids.length > 0) this.post({ kind: "text", ids, logProbs: text.token_logprobs });
            if (reason === "stop") ended = "boundary";
        }
        if (this.request !== request) return;
        this.request = null;
        this.post({ kind: "end", reason: ended, charsPerSecond: 1000 * chars / (performance.now() - began) });
    }

    async alternatives({ at, count }) {
        const rule = { ...this.now, temperature: 0 };
        for await (const { text } of this.completion(this.ids.slice(0, at), { length: 1, rule, shift: 0n, stream: false, top: Math.min(count, 5) })) {
            const found = Object.entries(text.top_logprobs[0] ?? {})
                .map(([token, logProb]) => ({ id: this.idOf.get(token), probability: Math.exp(logProb) }));
            this.post({ kind: "alternatives", at, found: found.sort((a, b) => b.probability - a.probability || a.id - b.id) });
        }
    }

    // The pieces of an answer: {text: its log-probabilities, reason}.
    async *completion(ids, { length, rule, shift, stream, top }, request) {
        const { seed, temperature, topK, topP, minP } = rule, last = this.model.vocab.symbols.length;
        const fields = { model: this.model.name, prompt: ids.filter(id => id < last), max_tokens: length, temperature, stream, logprobs: top };
        if (topK !== null) fields.top_k = topK;
        if (topP !== null) fields.top_p = topP;
        if (minP !== null) fields.min_p = minP;
        const key = $("key").value;
        const response = await fetch("/v1/completions", {
            method: "POST",
            headers: { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) },
            body: `${JSON.stringify(fields).slice(0, -1)},"seed":${(seed + shift) % 2n ** 63n}}`,    // JSON has no large integers in JavaScript
            signal: request?.signal,
        });
        if (!response.ok) throw new Error(await this.reason(response));
        for await (const value of stream ? events(response.body) : [await response.json()]) {
            if (value.error) throw new Error(value.error.message);
            const choice = value.choices[0];
            if (choice) yield { text: choice.logprobs ?? { tokens: [], token_logprobs: [] }, reason: choice.finish_reason };
        }
    }

    async reason(response) {
        if (response.status === 401) {
            $("key-row").hidden = false;
            $("key").focus();
        }
        try {
            return (await response.json()).error.message;
        } catch {
            return `the server answered ${response.status}`;
        }
    }
}

// The values of server-sent events.
async function* events(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const parts = (held + value).split("\n\n");
        held = parts.pop();
        for (const part of parts) {
            const data = part.split("\n").filter(line => line.startsWith("data: ")).map(line => line.slice(6)).join("\n");
            if (data === "[DONE]") return;
            if (data !== "") yield JSON.parse(data);
        }
    }
}

// Show a model: its form, its card, and who writes.
function show(page, model) {
    const server = new Server(model, message => page.heard(message, server));
    page.serve(model, server);
    $("about").textContent = model.about;
    $("prompt").value = model.prompt;
    for (const [id, value] of Object.entries(model.settings)) $(id).value = value;
    const facts = model.facts.flatMap(([label, text]) => {
        const name = document.createElement("dt"), value = document.createElement("dd");
        name.textContent = label;
        value.textContent = text;
        return [name, value];
    });
    $("card").replaceChildren(...facts);
    $("report").hidden = model.report === "";
    $("report").firstElementChild.href = model.report || "#";
    showTemperature();
    say("Ready.");
}

function openPlayground() {
    const { models, needsKey } = JSON.parse($("served").textContent), page = new Page(models[0], () => {});
    const options = models.map(model => new Option(model.name, model.name));
    $("which").replaceChildren(...options);
    $("models").hidden = models.length === 1;
    $("key-row").hidden = !needsKey;
    page.serve = (model, server) => {
        page.desk({ kind: "stop" });
        page.vocab = new Vocabulary(model.vocab, model.text);
        page.desk = message => server.ask(message);
        page.sheet.clear("");
        page.close();
        page.isWriting = false;
        page.run++;
        page.buttons();
    };
    $("which").addEventListener("change", () => show(page, models.find(model => model.name === $("which").value)));
    show(page, models[0]);
    fillFromLink();
    legend();
    if (location.hash.length > 1) page.write();
}

openPlayground();
