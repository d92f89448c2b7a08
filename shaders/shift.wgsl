// 3 FOLD, GPU: the shift of every output channel. Twin of `shift` in src/fold/cpu.rs.
//
//     shift[c] = moved[c] + beta[c]        moved[c] = (bias[c] - mean[c]) * scale[c], computed in f64 and rounded once
//
// WGSL lets an implementation contract or reorder anything longer than one operation. A single addition is the longest
// expression that gives the CPU's bits wherever a device rounds to the nearest (the host checks), and it rounds twice in
// all: at most 1.5 ulp of the larger addend.
//
// binding  0 moved     one f32 per channel, all layers of the model one after the other
//          1 beta      the same
//          2 shifted   the result

@group(0) @binding(0) var<storage, read> moved: array<f32>;
@group(0) @binding(1) var<storage, read> beta: array<f32>;
@group(0) @binding(2) var<storage, read_write> shifted: array<f32>;

@compute @workgroup_size(256)
fn shift(@builtin(global_invocation_id) id: vec3<u32>) {
    let channel = id.x;
    if channel < arrayLength(&shifted) {
        shifted[channel] = moved[channel] + beta[channel];
    }
}
