// The model inside this page: its bytes, the kernels, and the worker that runs them.
"use strict";

async function bytesOf(id) {
    const packed = Uint8Array.from(atob($(id).textContent.trim()), c => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function openPage() {
    const model = JSON.parse($("model").textContent);
    $("prompt").value = model.prompt;
    for (const [id, value] of Object.entries(model.settings)) $(id).value = value;
    fillFromLink();
    legend();
    const [bytes, kernels] = await Promise.all([bytesOf("weights"), bytesOf("kernels")]);
    const wasm = await WebAssembly.compile(kernels);
    const code = URL.createObjectURL(new Blob([$("worker").textContent], { type: "text/javascript" }));
    const own = globalThis.trustedTypes?.createPolicy("charloom", { createScriptURL: (url) => url });
    const worker = new Worker(own ? own.createScriptURL(code) : code); // the page's policy allows no other code
    const page = new Page(model, message => worker.postMessage(message));
    worker.onerror = event => page.heard({ kind: "error", says: event.message });
    worker.onmessage = ({ data }) => {
        if (data.kind !== "ready") return page.heard(data);
        $("write").disabled = false;
        say("Ready.");
        if (location.hash.length > 1) page.write();
    };
    worker.postMessage({ kind: "open", wasm, model, bytes });
}

openPage().catch(error => say(`This page cannot write here: ${error.message}`));
