// The page: settings, the text, and what else could have been written. It loads nothing and sends nothing.
"use strict";

const SURPRISES = [2, 4, 6, 8, 10];      // bits: the lowest of each shade
const CHOICES = 8;
const $ = id => document.getElementById(id);

// The characters of a model: ids from texts, and texts from ids.
class Vocabulary {
    constructor({ unit, symbols, specials }, text) {
        Object.assign(this, { unit, symbols, specials, text });
        this.ids = new Map(symbols.map((symbol, id) => [symbol, id]));
        this.boundary = specials.includes("<boundary>") ? symbols.length + specials.length - 1 : null;
    }

    // A text as the training text was cleaned.
    cleaned(text) {
        const { form, raw, replaced } = this.text;
        if (raw) return text;
        const normal = x => form ? x.normalize(form) : x;
        const kept = normal(text.replace(/\r\n?/g, "\n"));
        return Object.keys(replaced).length ? normal(Array.from(kept, c => replaced[c] ?? c).join("")) : kept;
    }

    // {ids, unknown} of a text.
    encoded(text) {
        const codes = this.unit === "byte"
            ? Array.from(new TextEncoder().encode(text)) : Array.from(text, c => c.codePointAt(0));
        const unknown = new Set(codes.filter(code => !this.ids.has(code)));
        return { ids: codes.filter(code => this.ids.has(code)).map(code => this.ids.get(code)),
            unknown: Array.from(unknown, code => String.fromCodePoint(code)) };
    }

    // What is read before the first character: see prefill.py.
    begun(ids) {
        if (this.boundary !== null) return [this.boundary, ...ids];
        if (ids.length > 0) return ids;
        const first = [10, 32].find(code => this.ids.has(code));
        return [first === undefined ? 0 : this.ids.get(first)];
    }
}

// Ids that arrive one at a time, as characters: {text, from, to} with the places of their ids.
class Decoder {
    constructor(vocab) { this.vocab = vocab; this.bytes = []; this.from = 0; }

    push(id, at) {
        const { vocab } = this;
        if (id >= vocab.symbols.length) return [];
        if (vocab.unit !== "byte") return [{ text: String.fromCodePoint(vocab.symbols[id]), from: at, to: at + 1 }];
        if (this.bytes.length === 0) this.from = at;
        this.bytes.push(vocab.symbols[id]);
        return this.complete(at);
    }

    // The bytes of an incomplete character at the end.
    rest(at) {
        return this.bytes.splice(0).map((byte, i, all) => {
            const from = at - all.length + i;
            return { text: `\\x${byte.toString(16).padStart(2, "0")}`, from, to: from + 1 };
        });
    }

    // The characters that the bytes so far complete; an invalid byte is shown as \xNN.
    complete(at) {
        const found = [];
        while (this.bytes.length > 0) {
            const first = this.bytes[0];
            const size = first < 0x80 ? 1 : first >= 0xC2 && first < 0xE0 ? 2 : first >= 0xE0 && first < 0xF0 ? 3
                : first >= 0xF0 && first < 0xF5 ? 4 : 0;
            const tail = this.bytes.slice(1, size), isValid = size > 0 && tail.every(b => (b & 0xC0) === 0x80);
            if (isValid && this.bytes.length < size) break;
            const taken = this.bytes.splice(0, isValid ? size : 1);
            let text = `\\x${first.toString(16).padStart(2, "0")}`;
            try { if (isValid) text = new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(taken)); } catch { /* as bytes */ }
            const to = at + 1 - this.bytes.length;
            found.push({ text, from: to - taken.length, to });
        }
        return found;
    }
}

// A character as a visible sign.
function sign(text) {
    const names = { " ": "␣ space", "\n": "↵ new line", "\t": "⇥ tab", "\u00a0": "⍽ no-break space" };
    if (names[text]) return names[text];
    const code = text.codePointAt(0);
    const isHidden = /^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]$/u.test(text);
    return isHidden ? `U+${code.toString(16).toUpperCase().padStart(4, "0")}` : text;
}

// What was typed for --stop: \n, \t and \\ are escapes.
function unescaped(text) {
    return text.replace(/\\([nt\\])/g, (_, c) => ({ n: "\n", t: "\t", "\\": "\\" })[c]);
}

// The text on the page: where each character stands, and how surprising it was.
class Sheet {
    constructor(element) { this.element = element; this.clear(""); }

    clear(prompt) {
        this.cells = [];
        this.length = 0;
        const before = document.createElement("span");
        before.className = "prompt";
        before.textContent = prompt;
        this.node = document.createTextNode("");
        this.element.replaceChildren(before, this.node);
        this.unmark();
    }

    add(cells) {
        for (const cell of cells) {
            cell.at = this.length;
            this.length += cell.text.length;
        }
        this.cells.push(...cells);
        this.node.appendData(cells.map(cell => cell.text).join(""));
    }

    // Keep the first cells only.
    cut(count) {
        this.length = count < this.cells.length ? this.cells[count].at : this.length;
        this.cells.length = Math.min(count, this.cells.length);
        this.node.deleteData(this.length, this.node.length - this.length);
    }

    get text() { return this.node.data; }

    range(first, last) {
        const range = document.createRange();
        range.setStart(this.node, this.cells[first].at);
        range.setEnd(this.node, this.cells[last].at + this.cells[last].text.length);
        return range;
    }

    // The number of the character under a point, or −1.
    under(x, y) {
        const place = document.caretPositionFromPoint?.(x, y), old = place ? null : document.caretRangeFromPoint?.(x, y);
        const node = place?.offsetNode ?? old?.startContainer, offset = place?.offset ?? old?.startOffset;
        if (node !== this.node) return -1;
        const near = this.cells.findIndex(cell => cell.at + cell.text.length > offset);
        for (const i of [near, near - 1].filter(i => i >= 0 && i < this.cells.length))
            for (const box of this.range(i, i).getClientRects())
                if (x >= box.left - 1 && x <= box.right + 1 && y >= box.top && y <= box.bottom) return i;
        return -1;
    }

    // Shade runs of characters by their surprisal.
    tint() {
        if (!this.canMark) return;
        const shades = SURPRISES.map(() => []);
        const shade = cell => SURPRISES.findLastIndex(least => cell.bits >= least);
        for (let i = 0; i < this.cells.length;) {
            const now = shade(this.cells[i]);
            let last = i;
            while (last + 1 < this.cells.length && shade(this.cells[last + 1]) === now) last++;
            if (now >= 0) shades[now].push(this.range(i, last));
            i = last + 1;
        }
        shades.forEach((ranges, i) => CSS.highlights.set(`s${i + 1}`, new Highlight(...ranges)));
    }

    untint() { if (this.canMark) SURPRISES.forEach((_, i) => CSS.highlights.delete(`s${i + 1}`)); }

    mark(i) { if (this.canMark) CSS.highlights.set("here", new Highlight(this.range(i, i))); }

    unmark() { if (this.canMark) CSS.highlights.delete("here"); }

    get canMark() { return typeof Highlight === "function" && "highlights" in CSS; }
}

// Settings from the form, and back.
const FIELDS = { prompt: "prompt", temperature: "temperature", "top-k": "top_k", "top-p": "top_p", "min-p": "min_p",
    seed: "seed", length: "length", "stop-text": "stop" };

function settings() {
    const number = id => $(id).value.trim() === "" ? null : Number($(id).value);
    const seed = /^[0-9]{1,20}$/.test($("seed").value) ? BigInt($("seed").value) : null;
    const problems = [[$("seed"), seed !== null && seed < 2n ** 64n, "The seed is a whole number below 2⁶⁴."],
        ...["length", "top-k", "top-p", "min-p"].map(id => [$(id), $(id).checkValidity(), `${$(id).labels[0].textContent}: ${$(id).validationMessage}`])];
    const wrong = problems.find(([, isRight]) => !isRight);
    if (wrong) throw Object.assign(new Error(wrong[2]), { field: wrong[0] });
    const topP = number("top-p");
    return { prompt: $("prompt").value, length: number("length") ?? 500, stop: unescaped($("stop-text").value),
        rule: { seed, temperature: Number($("temperature").value), topK: number("top-k"), topP: topP === 0 ? 1e-9 : topP, minP: number("min-p") } };
}

function linkOf() {
    const values = Object.entries(FIELDS).map(([id, name]) => [name, $(id).value]).filter(([, value]) => value !== "");
    return `${location.href.split("#")[0]}#${new URLSearchParams(values)}`;
}

function fillFromLink() {
    const values = new URLSearchParams(location.hash.slice(1));
    for (const [id, name] of Object.entries(FIELDS)) if (values.has(name)) $(id).value = values.get(name);
    showTemperature();
}

function showTemperature() { $("temperature-value").textContent = $("temperature").value; }

function say(text) { $("status").textContent = text; }

// The reader's side: what was asked, what came back.
class Page {
    constructor(model, desk) {
        this.vocab = new Vocabulary(model.vocab, model.text);
        this.desk = desk;
        this.sheet = new Sheet($("text"));
        this.run = 0;
        this.here = -1;
        this.isWriting = false;
        this.listen();
    }

    listen() {
        $("form").addEventListener("submit", event => { event.preventDefault(); this.write(); });
        $("stop").addEventListener("click", () => this.desk({ kind: "stop" }));
        $("continue").addEventListener("click", () => this.goOn());
        $("copy").addEventListener("click", () => this.copied($("text").textContent, "The text is copied."));
        $("share").addEventListener("click", () => this.copied(linkOf(), "The link is copied: it holds these settings, and needs this page."));
        $("another").addEventListener("click", () => { $("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0]); });
        $("temperature").addEventListener("input", () => { showTemperature(); this.turn(); });
        $("tint").addEventListener("change", () => this.tint());
        $("text").addEventListener("click", event => this.look(this.sheet.under(event.clientX, event.clientY), true));
        $("text").addEventListener("pointermove", event => { if (event.pointerType === "mouse") this.hover(event); });
        $("text").addEventListener("keydown", event => this.key(event));
        $("choices").addEventListener("keydown", event => this.key(event));
        document.addEventListener("pointerdown", event => { if (!$("choices").contains(event.target) && !$("text").contains(event.target)) this.close(); });
        addEventListener("hashchange", fillFromLink);
    }

    // Do something with the settings; say what is wrong with them.
    asked(act) {
        try {
            act(settings());
        } catch (error) {
            say(error.message);
            error.field?.closest("details")?.setAttribute("open", "");
            error.field?.focus();
        }
    }

    write() {
        this.asked(({ prompt, length, stop, rule }) => {
            const text = this.vocab.cleaned(prompt), { ids, unknown } = this.vocab.encoded(text);
            if (unknown.length > 0) {
                const names = unknown.slice(0, 6).map(sign).join(" ");
                throw Object.assign(new Error(`The model does not know: ${names}. Write the beginning without it.`), { field: $("prompt") });
            }
            const begun = this.vocab.begun(ids);
            this.sheet.clear(text);
            this.restart(begun.length);
            this.start({ kind: "begin", ids: begun, rule, length }, stop);
        });
    }

    start(message, stop) {
        this.close();
        this.stop = this.vocab.cleaned(stop);
        this.run++;
        this.isWriting = true;
        this.wanted = this.sheet.cells.length + message.length;
        this.desk({ ...message, run: this.run });
        say("Writing …");
        this.buttons();
    }

    goOn() { this.asked(({ length, stop, rule }) => { this.desk({ kind: "rule", rule }); this.start({ kind: "goOn", length }, stop); }); }

    // The temperature may move while the model writes.
    turn() { if (this.isWriting) this.asked(({ rule }) => this.desk({ kind: "rule", rule })); }

    heard(message) {
        if (message.kind === "error") { this.isWriting = false; this.close(); this.buttons(); return say(`Something went wrong: ${message.says}`); }
        if (message.kind === "alternatives") return this.show(message);
        if (message.run !== this.run) return;
        if (message.kind === "text") this.append(message);
        if (message.kind === "end" && !this.isShort(message)) this.finish(message);
    }

    // Whether more is to come: a character may take several bytes. Too many are taken back.
    isShort({ reason }) {
        const missing = this.wanted - this.sheet.cells.length;
        if (reason !== "length" || missing === 0) return false;
        if (missing > 0) this.desk({ kind: "goOn", run: this.run, length: missing });
        else {
            this.desk({ kind: "rewind", at: this.sheet.cells[this.wanted].from });
            this.sheet.cut(this.wanted);
            this.restart(this.sheet.cells.at(-1).to);
        }
        return missing > 0;
    }

    // Read ids from a place on, with nothing left of a character before it.
    restart(at) {
        this.decoder = new Decoder(this.vocab);
        this.place = at;
        this.pending = 0;
    }

    append({ ids, logProbs }) {
        const cells = [];
        ids.forEach((id, i) => {
            this.pending -= logProbs[i] / Math.LN2;
            for (const cell of this.decoder.push(id, this.place)) { cells.push({ ...cell, id, bits: this.pending }); this.pending = 0; }
            this.place++;
        });
        this.sheet.add(cells);
        this.stopIfDue(cells);
        if ($("tint").checked) this.sheet.tint();
    }

    // End the text before the stop text.
    stopIfDue(cells) {
        if (this.stop === "") return;
        const from = Math.max(0, this.sheet.length - cells.reduce((n, cell) => n + cell.text.length, 0) - this.stop.length);
        const at = this.sheet.text.indexOf(this.stop, from);
        if (at < 0) return;
        this.sheet.cut(this.sheet.cells.findIndex(cell => cell.at >= at));
        this.run++;    // what was written further on is not heard
        this.desk({ kind: "stop" });
        this.finish({ reason: "stop", charsPerSecond: 0 });
    }

    finish({ reason, charsPerSecond }) {
        this.isWriting = false;
        if (reason === "boundary") this.sheet.add(this.decoder.rest(this.place - 1).map(cell => ({ ...cell, id: -1, bits: 0 })));
        const why = { length: "", boundary: " The model ended the text.", stop: " It came to the stop text.", stopped: " Stopped." }[reason];
        const speed = charsPerSecond > 0 ? `, ${Math.round(charsPerSecond).toLocaleString("en")} characters per second` : "";
        say(`${this.sheet.cells.length.toLocaleString("en")} characters${speed}.${why}`);
        this.ended = reason;
        this.buttons();
        this.tint();
    }

    buttons() {
        $("stop").disabled = !this.isWriting;
        $("copy").disabled = this.isWriting || this.sheet.cells.length === 0;
        $("continue").disabled = this.isWriting || this.sheet.cells.length === 0 || this.ended === "boundary" || this.ended === "stop";
    }

    tint() {
        const on = $("tint").checked;
        $("legend").hidden = !on;
        if (on && !this.sheet.canMark) say("This browser cannot shade the text: it lacks the CSS Custom Highlight API.");
        if (on) this.sheet.tint(); else this.sheet.untint();
    }

    async copied(text, says) {
        try {
            await navigator.clipboard.writeText(text);
            say(says);
        } catch {
            say("The browser does not let this page copy. Select the text and copy it yourself.");
        }
    }

    hover({ clientX, clientY }) {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => { const i = this.sheet.under(clientX, clientY); if (i >= 0) this.look(i, false); }, 120);
    }

    // Ask what else could stand at character i. The choices of another are hidden until the answer comes.
    look(i, takesFocus) {
        if (this.isWriting || i < 0 || i >= this.sheet.cells.length) return this.close();
        if (i === this.here) {
            this.takesFocus ||= takesFocus;
            if (takesFocus && !$("choices").hidden) this.focusChoice();
            return;
        }
        this.close();
        this.here = i;
        this.takesFocus = takesFocus;
        this.sheet.mark(i);
        this.desk({ kind: "alternatives", at: this.sheet.cells[i].from, count: CHOICES });
    }

    show({ at, found }) {
        const cell = this.sheet.cells[this.here];
        if (!cell || cell.from !== at || this.isWriting) return;
        $("choices").replaceChildren(...found.map(({ id, probability }) => this.option(id, probability, cell)));
        $("choices").hidden = false;
        const box = this.sheet.range(this.here, this.here).getBoundingClientRect(), own = $("choices").getBoundingClientRect();
        const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - own.width - 8));
        $("choices").style.left = `${left + scrollX}px`;
        $("choices").style.top = `${box.bottom + scrollY + 4}px`;
        if (this.takesFocus) this.focusChoice();
    }

    focusChoice() { ($("choices").querySelector("[aria-selected=true]") ?? $("choices").firstElementChild)?.focus(); }

    option(id, probability, cell) {
        const option = document.createElement("div"), name = document.createElement("bdi"), share = document.createElement("span");
        const { vocab } = this, symbol = vocab.symbols[id];
        const text = symbol === undefined ? "end of the text" : vocab.unit === "byte" && symbol >= 0x80 ? `\\x${symbol.toString(16)}` : sign(String.fromCodePoint(symbol));
        name.textContent = text;
        share.textContent = probability >= 0.001 ? `${(100 * probability).toFixed(1)} %` : "< 0.1 %";
        option.append(name, share);
        option.setAttribute("role", "option");
        option.tabIndex = -1;
        option.ariaSelected = String(id === cell.id && cell.to - cell.from === 1);
        if (symbol === undefined) option.setAttribute("aria-disabled", "true");
        else option.addEventListener("click", () => this.fork(id));
        return option;
    }

    // Go on from another character.
    fork(id) {
        const i = this.here, at = this.sheet.cells[i].from;
        this.asked(({ length, stop, rule }) => {
            this.sheet.cut(i);
            this.restart(at + 1);
            this.sheet.add(this.decoder.push(id, at).map(cell => ({ ...cell, id, bits: 0 })));
            this.start({ kind: "fork", at, id, rule, length }, stop);
            $("text").focus();
        });
    }

    close() {
        $("choices").hidden = true;
        this.here = -1;
        this.sheet.unmark();
    }

    key(event) {
        const isOpen = $("choices").contains(document.activeElement), options = [...$("choices").children];
        const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }, step = steps[event.key];
        if (event.key === "Escape") { this.close(); $("text").focus(); }
        else if (isOpen && event.key === "Enter") document.activeElement.click();
        else if (isOpen && (event.key === "ArrowDown" || event.key === "ArrowUp"))
            options[(options.indexOf(document.activeElement) + step + options.length) % options.length].focus();
        else if (!isOpen && event.key === "Enter") this.look(Math.max(0, this.here), true);
        else if (!isOpen && (event.key === "ArrowRight" || event.key === "ArrowLeft")) this.walk(step);
        else return;
        event.preventDefault();
    }

    // Move to a neighbouring character, and say which it is.
    walk(step) {
        const isRtl = getComputedStyle($("text")).direction === "rtl";
        const i = Math.max(0, Math.min(this.sheet.cells.length - 1, this.here + (isRtl ? -step : step)));
        if (this.sheet.cells.length === 0) return;
        this.look(i, false);
        say(`${sign(this.sheet.cells[i].text)}: ${this.sheet.cells[i].bits.toFixed(1)} bits. Enter shows what else could stand here.`);
    }
}

function legend() {
    $("legend").append("bits: ", ...SURPRISES.map((least, i) => {
        const key = document.createElement("span");
        key.className = `key k${i + 1}`;
        key.textContent = `${least}+`;
        return key;
    }));
}
