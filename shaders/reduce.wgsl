// 3 FOLD, GPU: for every channel the sum of its elements and that of their squares. Twin of src/fold/reduce.rs; behind
// `place.wgsl`.
//
//     q[i]       = round(stored[i] / unit[c])    c = channel(i), unit[c] = 2^(exponent of the channel's largest - 13)
//     values[c]  = sum of q[i]
//     squares[c] = sum of q[i]^2 = low + 2^14 * high
//
// binding  0 stored  words of the batch: one f32, or two f16 / bf16, first element in the low half
//          1 sums    one entry a channel and piece, all zero before
//          2 tops    for each of them the biased exponent of its largest element in this piece, at least 1
//
// There is no floating point here: elements are taken apart as bits, and nothing can be flushed, contracted or reordered
// to another result. Integer sums are the same in any order as long as none of them overflows. None does:
//
//     an element has 24 digits, stored < 2^24 * 2^(exponent - 23)    |q| <= (2^24 - 1 + 2^9) >> 10 = 2^14
//     a lane adds up 8 elements at most                              squares <= 2^31 < 2^32
//     a piece has 2^16 elements at most (PART_ELEMENTS)              |values| <= 2^30 < 2^31, squares <= 2^44
//     what a lane has goes to low by its lower 14 bits, the rest to
//     high, as often as there are elements at most                   low < 2^16 * 2^14 = 2^30, high <= 2^44 >> 14 = 2^30

struct Sums {
    values: atomic<i32>,
    low: atomic<u32>,
    high: atomic<u32>,
}

@group(0) @binding(0) var<storage, read> stored: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> sums: array<Sums>;
@group(0) @binding(2) var<storage, read> tops: array<u32>;

// Sums of some of a tile's channels are gathered here before they go to memory that all workgroups share. WGSL begins
// with zeros.
var<workgroup> near: array<Sums, LANES>;

// What a lane has of the channel it stands at.
struct Run {
    channel: u32,
    value: i32,
    squares: u32,
}

// The first of the channels that are gathered: that of the tile's first element. A row of few channels comes again and is
// gathered as a whole.
fn first_near(segment: Segment, tile: u32, in_word: u32) -> u32 {
    let place = place_of(segment, (tile * LANES - segment.first_vector) * 4u * in_word);
    return place.first_channel + select(place.channel, 0u, segment.row <= LANES);
}

// The element with the number `index` in its vector, in units of a channel with that top. Half types lie two in a word.
fn quantise(vector: vec4<u32>, index: u32, in_word: u32, fraction_bits: u32, top: u32) -> i32 {
    let width = 32u / in_word;
    let all = 0xffffffffu >> (32u - width);
    let bits = (vector[index / in_word] >> (width * (index % in_word))) & all;
    let magnitude = bits & (all >> 1u);
    let exponent = magnitude >> fraction_bits;
    let leading = select(1u << fraction_bits, 0u, exponent == 0u);
    let significand = ((magnitude & ((1u << fraction_bits) - 1u)) | leading) << (23u - fraction_bits);
    // Half of the last digit that stays is added by the second shift.
    let shift = min(9u + top - max(exponent, 1u), 31u);
    let rounded = i32(((significand >> shift) + 1u) >> 1u);
    return select(rounded, -rounded, bits != magnitude);
}

// Hands on what a lane has of a channel.
fn commit(run: Run, first: u32) {
    let low = run.squares & 0x3fffu;
    let high = run.squares >> 14u;
    let lane = run.channel - first;
    // Channels before the first are far behind the last, modulo 2^32.
    if lane < LANES {
        atomicAdd(&near[lane].values, run.value);
        atomicAdd(&near[lane].low, low);
        atomicAdd(&near[lane].high, high);
    } else {
        atomicAdd(&sums[run.channel].values, run.value);
        atomicAdd(&sums[run.channel].low, low);
        atomicAdd(&sums[run.channel].high, high);
    }
}

// Hands on what the workgroup has of all channels.
fn commit_near(first: u32, lane: u32) {
    let value = atomicLoad(&near[lane].values);
    let low = atomicLoad(&near[lane].low);
    let high = atomicLoad(&near[lane].high);
    // Channels that are not in the tile need not be in the table.
    if (low | high) != 0u {
        atomicAdd(&sums[first + lane].values, value);
        atomicAdd(&sums[first + lane].low, low);
        atomicAdd(&sums[first + lane].high, high);
    }
}

// A lane's part of the work: the elements of one vector.
fn gather(segment: Segment, tile: u32, lane: u32, in_word: u32, fraction_bits: u32) {
    let element = (tile * LANES + lane - segment.first_vector) * 4u * in_word;
    if element >= segment.elements {
        return;
    }
    let first = first_near(segment, tile, in_word);
    let vector = stored[tile * LANES + lane];
    let elements = min(4u * in_word, segment.elements - element);
    var place = place_of(segment, element);
    var run = Run(place.first_channel + place.channel, 0, 0u);
    for (var index = 0u; index < elements; index += 1u) {
        let channel = next_channel(segment, &place);
        if channel != run.channel {
            commit(run, first);
            run = Run(channel, 0, 0u);
        }
        let q = quantise(vector, index, in_word, fraction_bits, tops[channel]);
        run.value += q;
        run.squares += u32(q * q);
    }
    commit(run, first);
}

@compute @workgroup_size(LANES)
fn reduce_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let segment = segments[tiles[group.x]];
    gather(segment, group.x, lane, 1u, 23u);
    workgroupBarrier();
    commit_near(first_near(segment, group.x, 1u), lane);
}

@compute @workgroup_size(LANES)
fn reduce_f16(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let segment = segments[tiles[group.x]];
    gather(segment, group.x, lane, 2u, 10u);
    workgroupBarrier();
    commit_near(first_near(segment, group.x, 2u), lane);
}

@compute @workgroup_size(LANES)
fn reduce_bf16(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let segment = segments[tiles[group.x]];
    gather(segment, group.x, lane, 2u, 7u);
    workgroupBarrier();
    commit_near(first_near(segment, group.x, 2u), lane);
}
