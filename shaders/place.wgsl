// 3 FOLD, GPU: which channel an element of a weight belongs to, for kernels that walk over batches of weights. Stands
// before `scale.wgsl`, since WGSL has no include; has no entry point of its own.
//
//     channel(i) = (i / (inner * row * repeats)) * row + (i / inner) % row
//
// A batch holds pieces of many weights. Each piece begins on a tile, so a workgroup (one tile) works on one piece. Words
// behind a piece's last element hold anything.
//
// binding  3 segments  one entry per piece
//          4 tiles     which segment a tile belongs to

struct Segment {
    first_vector: u32,  // where the piece begins in the batch, in vectors of four words
    elements: u32,      // how many elements it has
    first_element: u32, // flat index of its first element in the weight
    inner: u32,         // neighbouring elements of one channel
    row: u32,           // channels that follow each other
    repeats: u32,       // how often the row comes before the next channels begin
    first_channel: u32, // where the weight's channel 0 is in tables of channels
    padding: u32,
}

@group(0) @binding(3) var<storage, read> segments: array<Segment>;
@group(0) @binding(4) var<storage, read> tiles: array<u32>;

// A lane works on one vector of four words, a workgroup on one tile of 4096 bytes.
const LANES: u32 = 256u;

// Where a lane stands: the place of its next element among those that share a channel, in the row of channels, and in
// the repetitions of the row. Stepping costs comparisons; only the first element costs divisions.
struct Place {
    within: u32,
    channel: u32,
    repeat: u32,
    first_channel: u32,
}

fn place_of(segment: Segment, element: u32) -> Place {
    let i = segment.first_element + element;
    let group = i / segment.inner;
    let row = group / segment.row;
    return Place(
        i - group * segment.inner,
        group - row * segment.row,
        row % segment.repeats,
        segment.first_channel + (row / segment.repeats) * segment.row,
    );
}

// The channel, in tables of channels, of the element that `place` stands at.
fn channel_at(place: Place) -> u32 {
    return place.first_channel + place.channel;
}

// One element further. A place is a value and never a variable: compilers give structs in buffers a layout, and structs in
// variables the same one, which SPIR-V forbids there (VUID-StandaloneSpirv-None-10684).
fn step(segment: Segment, place: Place) -> Place {
    var within = place.within + 1u;
    var channel = place.channel;
    var repeat = place.repeat;
    var first_channel = place.first_channel;
    if within == segment.inner {
        within = 0u;
        channel += 1u;
        if channel == segment.row {
            channel = 0u;
            repeat += 1u;
            if repeat == segment.repeats {
                repeat = 0u;
                first_channel += segment.row;
            }
        }
    }
    return Place(within, channel, repeat, first_channel);
}
