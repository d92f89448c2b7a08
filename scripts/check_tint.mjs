// Runs the scale shader through a second compiler and holds every result against arithmetic done here.
//
//     npm install --prefix target/tint webgpu@0.6.2
//     VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json node scripts/check_tint.mjs
//
// Stage:  after a change of shaders/; the program reaches drivers through naga, browsers and Dawn through Tint.
// In:     shaders/place.wgsl and shaders/scale.wgsl, put together as src/fold/gpu/kernel.rs does; Dawn for Node, from npm.
// Out:    how many elements were compared: all 65,536 patterns of F16 and of BF16 times scales of every size, and layouts of
//         every kind in all types, several pieces a batch; exit status 1 if one has other bits. A device may flush what f32
//         holds as a subnormal (WGSL 15.7.2), and a NaN has no fixed bits; both are counted, and nothing else is excused.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const root = new URL('..', import.meta.url);
const packages = createRequire(new URL('target/tint/package.json', root));
const { create, globals } = await import(pathToFileURL(packages.resolve('webgpu')));
Object.assign(globalThis, globals);

const TILE_BYTES = 4096;
const shader = ['place.wgsl', 'scale.wgsl'].map((file) => readFileSync(new URL(`shaders/${file}`, root), 'utf8')).join('\n');

// ---- arithmetic that shares nothing with the shader: in doubles, by division and rounding --------------------------

const TINY = 2 ** -126;

const half = (mantissa, least, most) => ({
    bytes: 2,
    widen(bits) {
        const exponents = 15 - mantissa;
        const [sign, exponent, fraction] =
            [bits >> 15 ? -1 : 1, (bits >> mantissa) & (2 ** exponents - 1), bits & (2 ** mantissa - 1)];
        if (exponent === 2 ** exponents - 1) return fraction ? NaN : sign * Infinity;
        const scale = 2 ** (least - mantissa);
        return exponent === 0 ? sign * fraction * scale : sign * (2 ** mantissa + fraction) * scale * 2 ** (exponent - 1);
    },
    narrow(value) {
        const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
        const magnitude = Math.abs(value);
        const infinity = (2 ** (15 - mantissa) - 1) << mantissa;
        if (Number.isNaN(value)) return infinity | 1;
        const exponent = Math.max(Math.floor(Math.log2(magnitude)), least);
        // log2 may be off by one at powers of two.
        const fixed = magnitude >= 2 ** (exponent + 1) ? exponent + 1 : magnitude < 2 ** exponent ? Math.max(exponent - 1, least) : exponent;
        const unit = 2 ** (fixed - mantissa);
        const count = magnitude / unit;
        const floor = Math.floor(count);
        const rest = count - floor;
        const rounded = (floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0)) * unit;
        if (!(rounded < most)) return sign | infinity;
        // Units from zero on are the patterns in order.
        let at = Math.max(Math.floor(Math.log2(rounded)), least);
        if (rounded >= 2 ** (at + 1)) at += 1;
        return sign | (rounded < 2 ** least ? rounded / 2 ** (least - mantissa)
            : ((at - least + 1) << mantissa) + (rounded / 2 ** (at - mantissa) - 2 ** mantissa));
    },
});

const word = new DataView(new ArrayBuffer(4));
const TYPES = {
    f32: {
        bytes: 4,
        widen: (bits) => (word.setUint32(0, bits), word.getFloat32(0)),
        narrow: (value) => (word.setFloat32(0, value), word.getUint32(0)),
    },
    f16: half(10, -14, 65536),
    bf16: half(7, -126, 2 ** 128),
};

const expected = (type, bits, scale) => type.narrow(Math.fround(type.widen(bits) * scale));
const isTiny = (value) => value !== 0 && Math.abs(value) < TINY;

// ---- the device -----------------------------------------------------------------------------------------------------

const gpu = create(['backend=vulkan']);
const adapter = await gpu.requestAdapter();
if (!adapter) throw new Error('Dawn finds no adapter; VK_ICD_FILENAMES names a driver');
const device = await adapter.requestDevice();
device.addEventListener('uncapturederror', (event) => { throw event.error; });
const module = device.createShaderModule({ code: shader });
const entries = ['read-only-storage', 'storage', 'read-only-storage', 'read-only-storage', 'read-only-storage']
    .map((type, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } }));
const bindings = device.createBindGroupLayout({ entries });
const layout = device.createPipelineLayout({ bindGroupLayouts: [bindings] });
const pipelines = Object.fromEntries(Object.keys(TYPES).map((type) =>
    [type, device.createComputePipeline({ layout, compute: { module, entryPoint: `scale_${type}` } })]));

function buffer(data) {
    const made = device.createBuffer({ size: data.byteLength, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
    device.queue.writeBuffer(made, 0, data);
    return made;
}

/** Folds pieces `{stored, scales, first, inner, row, repeats}` in one batch; returns the bits of each. */
async function fold(name, pieces) {
    const { bytes } = TYPES[name];
    const Bits = bytes === 2 ? Uint16Array : Uint32Array;
    const tiles = [], segments = [], scales = [];
    let end = 0;
    for (const [number, piece] of pieces.entries()) {
        const { stored, first, inner, row, repeats } = piece;
        const count = Math.ceil((stored.length * bytes) / TILE_BYTES);
        segments.push(end / 16, stored.length, first, inner, row, repeats, scales.length, 0);
        scales.push(...piece.scales);
        tiles.push(...Array(count).fill(number));
        piece.begin = end;
        end += count * TILE_BYTES;
    }
    const batch = new Uint8Array(end);
    pieces.forEach(({ stored, begin }) => new Bits(batch.buffer, begin, stored.length).set(stored));
    const folded = device.createBuffer({ size: end, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
    const back = device.createBuffer({ size: end, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    const buffers = [buffer(batch), folded, buffer(Float32Array.from(scales)), buffer(Uint32Array.from(segments)), buffer(Uint32Array.from(tiles))];
    const group = device.createBindGroup({ layout: bindings, entries: buffers.map((made, binding) => ({ binding, resource: { buffer: made } })) });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipelines[name]);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(tiles.length);
    pass.end();
    encoder.copyBufferToBuffer(folded, 0, back, 0, end);
    device.queue.submit([encoder.finish()]);
    await back.mapAsync(GPUMapMode.READ);
    const result = back.getMappedRange().slice(0);
    buffers.concat(back).forEach((made) => made.destroy());
    return pieces.map(({ stored, begin }) => new Bits(result, begin, stored.length));
}

// ---- the comparison -------------------------------------------------------------------------------------------------

const counts = { compared: 0, flushed: 0, nan: 0, wrong: 0 };

async function check(name, pieces, what) {
    const type = TYPES[name];
    const results = await fold(name, pieces);
    pieces.forEach(({ stored, scales, first, inner, row, repeats }, number) => {
        for (let n = 0; n < stored.length; n++) {
            const i = first + n;
            const channel = Math.floor(i / (inner * row * repeats)) * row + (Math.floor(i / inner) % row);
            const scale = Math.fround(scales[channel]);
            const [got, right] = [results[number][n], expected(type, stored[n], scale)];
            counts.compared += 1;
            if (got === right) continue;
            const [value, product] = [type.widen(stored[n]), type.widen(stored[n]) * scale];
            if (Number.isNaN(type.widen(right)) && Number.isNaN(type.widen(got))) counts.nan += 1;
            else if (type.widen(got) === 0 && (isTiny(value) || isTiny(product))) counts.flushed += 1;
            else if (counts.wrong++ < 10) {
                console.error(`${what}, ${name}: ${value} (0x${stored[n].toString(16)}) * ${scale}: 0x${got.toString(16)} instead of 0x${right.toString(16)}`);
            }
        }
    });
}

let state = 1;
const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;

const sizes = [0, 1, -1, 1.5, 1 / 3, Math.PI, 1.0009766, 0.9997559, 65504, 1e30, -1e-30, 2 ** -24, 2 ** -14, 2 ** 15, 6e-5, -0.3]
    .concat(Array.from({ length: 10 }, () => (random() - 0.5) * 10 ** (12 * random() - 6)));
const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
for (const name of ['f16', 'bf16']) {
    for (let n = 0; n < sizes.length; n += 4) {
        const pieces = sizes.slice(n, n + 4).map((scale) => ({ stored: all, scales: [scale], first: 0, inner: 65536, row: 1, repeats: 1 }));
        await check(name, pieces, 'every pattern');
    }
}

// inner, row, repeats, rows of channels: convolutions, depthwise, linear, transposed with groups, last axes.
const layouts = [
    [4608, 64, 1, 1], [9, 700, 1, 1], [1, 999, 1, 1], [25, 30, 7, 1], [9, 7, 30, 2], [1, 512, 33, 1], [1, 3, 2000, 1], [1, 31, 70, 1],
    [5, 31, 30, 1], [3, 1, 1, 500], [2, 5, 3, 40], [33, 5, 1, 1], [1, 1, 1024, 1], [16, 128, 1, 1], [7, 13, 11, 3], [4, 4, 4, 4], [1, 2, 1, 777],
];
for (const name of Object.keys(TYPES)) {
    for (const [inner, row, repeats, groups] of layouts) {
        const elements = inner * row * repeats * groups;
        const scales = Array.from({ length: row * groups }, () => 4 * random() - 2);
        const bits = () => TYPES[name].narrow(Math.fround(2 * random() - 1));
        const stored = Array.from({ length: elements }, bits);
        // A whole weight, and what is left of one that is cut at an even place.
        const cut = 2 * Math.floor(random() * (elements / 2));
        const pieces = [0, cut].filter((first) => first < elements).map((first) => ({ stored: stored.slice(first), scales, first, inner, row, repeats }));
        await check(name, pieces, `inner ${inner}, row ${row}, repeats ${repeats}`);
    }
}

const { vendor, device: model, description } = adapter.info;
console.log(`${counts.compared} elements on ${description || model || vendor} through Tint: ${counts.wrong} wrong, ${counts.flushed} flushed, ${counts.nan} other NaNs`);
process.exit(counts.wrong === 0 ? 0 : 1);
