// The image that a page lays out: node image.cjs NETWORK.js MODEL.json WEIGHTS IMAGE
const { readFileSync, writeFileSync } = require("node:fs");

const [network, model, weights, image] = process.argv.slice(2);
const { imageOf } = require(network);
writeFileSync(image, imageOf(JSON.parse(readFileSync(model, "utf8")), new Uint8Array(readFileSync(weights))));
