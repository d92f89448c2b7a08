// 3 FOLD, GPU: multiplies every weight by the scale of its output channel. Twin of `scale` in src/fold/cpu.rs.
//
//     folded[i] = round(stored[i] * scale[channel(i)])
//     channel(i) = (i / block) * row + (i / inner) % row        block = inner * row * repeats
//
// A batch holds pieces of many weights. Each piece begins on a tile, so a workgroup (one tile) works on one piece and
// every lane of it takes the same branches. Words that belong to no element are left as they are.
//
// binding  0 stored    words of the batch: one f32, or two f16 / bf16, first element in the low half
//          1 folded    the same words, folded
//          2 scales    scales of the layers in the batch, one after the other
//          3 segments  one entry a piece
//          4 tiles     which segment a tile belongs to
//
// Half types are widened and rounded with integers alone: unpack2x16float may flush subnormals and pack2x16float may
// round either way (WGSL 17.11), and the CPU's bits are wanted. The multiplication is the only float operation, so
// there is nothing to contract or reorder.

struct Segment {
    first_word: u32,    // where the piece begins in the batch
    elements: u32,      // how many elements it has
    first_element: u32, // flat index of its first element in the weight
    inner: u32,         // neighbouring elements of one channel
    row: u32,           // channels that follow each other
    block: u32,         // elements before the next `row` channels begin
    first_scale: u32,   // where the layer's scales begin
    padding: u32,
}

@group(0) @binding(0) var<storage, read> stored: array<u32>;
@group(0) @binding(1) var<storage, read_write> folded: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read> segments: array<Segment>;
@group(0) @binding(4) var<storage, read> tiles: array<u32>;

const LANES: u32 = 256u;
const WORDS_PER_LANE: u32 = 4u;
const TILE_WORDS: u32 = LANES * WORDS_PER_LANE;

fn scale_of(segment: Segment, element: u32) -> f32 {
    let i = segment.first_element + element;
    let channel = (i / segment.block) * segment.row + (i / segment.inner) % segment.row;
    return scales[segment.first_scale + channel];
}

@compute @workgroup_size(LANES)
fn scale_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let segment = segments[tiles[group.x]];
    for (var k = 0u; k < WORDS_PER_LANE; k++) {
        let word = group.x * TILE_WORDS + k * LANES + lane;
        let element = word - segment.first_word;
        if element < segment.elements {
            folded[word] = bitcast<u32>(bitcast<f32>(stored[word]) * scale_of(segment, element));
        }
    }
}

@compute @workgroup_size(LANES)
fn scale_f16(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let segment = segments[tiles[group.x]];
    for (var k = 0u; k < WORDS_PER_LANE; k++) {
        let word = group.x * TILE_WORDS + k * LANES + lane;
        let element = (word - segment.first_word) * 2u;
        if element < segment.elements {
            let pair = stored[word];
            var result = narrow_f16(widen_f16(pair & 0xffffu) * scale_of(segment, element));
            if element + 1u < segment.elements {
                result |= narrow_f16(widen_f16(pair >> 16u) * scale_of(segment, element + 1u)) << 16u;
            }
            folded[word] = result;
        }
    }
}

@compute @workgroup_size(LANES)
fn scale_bf16(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let segment = segments[tiles[group.x]];
    for (var k = 0u; k < WORDS_PER_LANE; k++) {
        let word = group.x * TILE_WORDS + k * LANES + lane;
        let element = (word - segment.first_word) * 2u;
        if element < segment.elements {
            let pair = stored[word];
            var result = narrow_bf16(bitcast<f32>(pair << 16u) * scale_of(segment, element));
            if element + 1u < segment.elements {
                result |= narrow_bf16(bitcast<f32>(pair & 0xffff0000u) * scale_of(segment, element + 1u)) << 16u;
            }
            folded[word] = result;
        }
    }
}

// The f32 of the same value: every f16 is one, and none of them is subnormal there.
fn widen_f16(half: u32) -> f32 {
    let sign = (half & 0x8000u) << 16u;
    let exponent = (half >> 10u) & 0x1fu;
    let fraction = half & 0x3ffu;
    if exponent == 0u {
        // fraction * 2^-24, exactly.
        return bitcast<f32>(sign | bitcast<u32>(f32(fraction) * 0x1p-24f));
    }
    if exponent == 0x1fu {
        return bitcast<f32>(sign | 0x7f800000u | (fraction << 13u));
    }
    return bitcast<f32>(sign | ((exponent + 112u) << 23u) | (fraction << 13u));
}

// The nearest f16, ties to even; infinity from 65520 on.
fn narrow_f16(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u {
        return sign | 0x7e00u;
    }
    if magnitude >= 0x47800000u { // 65536
        return sign | 0x7c00u;
    }
    if magnitude >= 0x38800000u { // 2^-14, the smallest normal f16
        let rounded = magnitude + 0xfffu + ((magnitude >> 13u) & 1u);
        return sign | ((rounded - 0x38000000u) >> 13u);
    }
    if magnitude <= 0x33000000u { // 2^-25, half of the smallest subnormal: a tie, to even
        return sign;
    }
    let shift = 126u - (magnitude >> 23u);
    let significand = (magnitude & 0x7fffffu) | 0x800000u;
    let quotient = significand >> shift;
    let remainder = significand & ((1u << shift) - 1u);
    let half = 1u << (shift - 1u);
    let up = remainder > half || (remainder == half && (quotient & 1u) == 1u);
    return sign | (quotient + select(0u, 1u, up));
}

// The nearest bf16, ties to even.
fn narrow_bf16(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return (bits >> 16u) | 0x40u;
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
