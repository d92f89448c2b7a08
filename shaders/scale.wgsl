// 3 FOLD, GPU: multiplies every weight by the scale of its output channel. Twin of `scale` in src/fold/cpu.rs; behind
// `place.wgsl`.
//
//     folded[i] = round(stored[i] * scale[channel(i)])
//
// Nobody reads the results of words behind a piece's last element.
//
// binding  0 stored  words of the batch: one f32, or two f16 / bf16, first element in the low half
//          1 folded  the same words, folded
//          2 scales  scales of the layers in the batch, one after the other
//
// Half types are widened and rounded with integers alone: unpack2x16float may flush subnormals and pack2x16float may
// round either way (WGSL 17.11), and the CPU's bits are wanted. The multiplication is the only float operation, so
// there is nothing to contract or reorder.

@group(0) @binding(0) var<storage, read> stored: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> folded: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;

// The scales of four elements, and where the next one stands. Behind a piece's last element the index may run past the
// layer's scales: WGSL clamps or zeroes such a read, and its result is read by nobody.
struct Four {
    scales: vec4<f32>,
    next: Place,
}

fn four_scales(segment: Segment, place: Place) -> Four {
    // Most vectors lie within one channel.
    if place.within + 4u < segment.inner {
        let next = Place(place.within + 4u, place.channel, place.repeat, place.first_channel);
        return Four(vec4<f32>(scales[channel_at(place)]), next);
    }
    let y = step(segment, place);
    let z = step(segment, y);
    let w = step(segment, z);
    let channels = vec4<u32>(channel_at(place), channel_at(y), channel_at(z), channel_at(w));
    let found = vec4<f32>(scales[channels.x], scales[channels.y], scales[channels.z], scales[channels.w]);
    return Four(found, step(segment, w));
}

@compute @workgroup_size(LANES)
fn scale_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let segment = segments[tiles[group.x]];
    let vector = group.x * LANES + lane;
    let element = (vector - segment.first_vector) * 4u;
    if element < segment.elements {
        let four = four_scales(segment, place_of(segment, element));
        let weights = bitcast<vec4<f32>>(stored[vector]);
        folded[vector] = bitcast<vec4<u32>>(weights * four.scales);
    }
}

@compute @workgroup_size(LANES)
fn scale_f16(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let segment = segments[tiles[group.x]];
    let vector = group.x * LANES + lane;
    let element = (vector - segment.first_vector) * 8u;
    if element < segment.elements {
        let pairs = stored[vector];
        let first = four_scales(segment, place_of(segment, element));
        let front = first.scales;
        let back = four_scales(segment, first.next).scales;
        // Elements 0, 2, 4, 6 lie in the low halves, 1, 3, 5, 7 in the high ones.
        let low = vec4<f32>(front.xz, back.xz);
        let high = vec4<f32>(front.yw, back.yw);
        folded[vector] = vec4<u32>(
            scale_pair_f16(pairs.x, low.x, high.x),
            scale_pair_f16(pairs.y, low.y, high.y),
            scale_pair_f16(pairs.z, low.z, high.z),
            scale_pair_f16(pairs.w, low.w, high.w),
        );
    }
}

@compute @workgroup_size(LANES)
fn scale_bf16(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let segment = segments[tiles[group.x]];
    let vector = group.x * LANES + lane;
    let element = (vector - segment.first_vector) * 8u;
    if element < segment.elements {
        let pairs = stored[vector];
        let first = four_scales(segment, place_of(segment, element));
        let front = first.scales;
        let back = four_scales(segment, first.next).scales;
        let low = narrow_bf16(bitcast<vec4<f32>>(pairs << vec4<u32>(16u)) * vec4<f32>(front.xz, back.xz));
        let high = narrow_bf16(bitcast<vec4<f32>>(pairs & vec4<u32>(0xffff0000u)) * vec4<f32>(front.yw, back.yw));
        folded[vector] = low | (high << vec4<u32>(16u));
    }
}

fn scale_pair_f16(pair: u32, low: f32, high: f32) -> u32 {
    return narrow_f16(widen_f16(pair & 0xffffu) * low) | (narrow_f16(widen_f16(pair >> 16u) * high) << 16u);
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
    // Neither && nor ||: they are nested branches in what some drivers get to compile, and have failed there.
    let up = (remainder > half) | ((remainder == half) & ((quotient & 1u) == 1u));
    return sign | (quotient + select(0u, 1u, up));
}

// The nearest bf16, ties to even.
fn narrow_bf16(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let upper = bits >> vec4<u32>(16u);
    let rounded = (bits + vec4<u32>(0x7fffu) + (upper & vec4<u32>(1u))) >> vec4<u32>(16u);
    let is_nan = (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    return select(rounded, upper | vec4<u32>(0x40u), is_nan);
}
