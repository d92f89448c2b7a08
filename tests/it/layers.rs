//! The layers themselves, in f64 and by definition: what folding must not change.
//!
//! In: a layer's layout and sizes, a weight, an input. Out: the output, one row a channel; or, for every stored weight,
//! where it acts. Written from the frameworks' documentation and not from this crate's channel maps:
//!
//! - PyTorch: `Conv` weight (O, I/groups, k...), `ConvTranspose` weight (I, O/groups, k...), `Linear` weight (O, I).
//! - Keras: `Conv` kernel (k..., I/groups, O), `Conv*DTranspose` kernel (k..., O, I), `DepthwiseConv` kernel
//!   (k..., I, multiplier) with output channel `i * multiplier + m`, `Dense` kernel (I, O). Flax: `Conv`, `Dense` alike.
//! - MLX: `Conv` weight (O, k..., I/groups), `ConvTranspose` weight (O, k..., I), `Linear` weight (O, I).

/// Where a layer's weight keeps its axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    TorchConv,
    TorchConvTranspose,
    TorchLinear,
    KerasConv,
    KerasConvTranspose,
    KerasDepthwise,
    KerasDense,
    FlaxConv,
    FlaxDense,
    MlxConv,
    MlxConvTranspose,
    MlxLinear,
}

use Layout::*;

/// Every layout with every number of spatial axes that its framework has.
pub const KINDS: &[(Layout, usize)] = &[
    (TorchConv, 1),
    (TorchConv, 2),
    (TorchConv, 3),
    (TorchConvTranspose, 1),
    (TorchConvTranspose, 2),
    (TorchConvTranspose, 3),
    (TorchLinear, 0),
    (KerasConv, 1),
    (KerasConv, 2),
    (KerasConv, 3),
    (KerasConvTranspose, 1),
    (KerasConvTranspose, 2),
    (KerasDepthwise, 1),
    (KerasDepthwise, 2),
    (KerasDense, 0),
    (FlaxConv, 1),
    (FlaxConv, 2),
    (FlaxDense, 0),
    (MlxConv, 1),
    (MlxConv, 2),
    (MlxConv, 3),
    (MlxConvTranspose, 1),
    (MlxConvTranspose, 2),
    (MlxLinear, 0),
];

impl Layout {
    /// Whether the framework splits such a layer into groups.
    pub fn may_be_grouped(self) -> bool {
        matches!(self, TorchConv | TorchConvTranspose | KerasConv | FlaxConv | MlxConv)
    }

    /// Whether every input spreads over the output, and not every output gathers from the input.
    fn is_transposed(self) -> bool {
        matches!(self, TorchConvTranspose | KerasConvTranspose | MlxConvTranspose)
    }
}

/// A layer: its layout and sizes.
#[derive(Debug, Clone)]
pub struct Layer {
    pub layout: Layout,
    pub kernel: Vec<usize>,
    pub groups: usize,
    /// Input channels of a group.
    pub inputs: usize,
    /// Output channels of a group.
    pub outputs: usize,
}

/// Where one stored weight acts.
pub struct Tap {
    pub output: usize,
    pub input: usize,
    pub kernel: Vec<usize>,
}

/// Distance of a transposed layer's inputs in its output.
const STRIDE: usize = 2;

impl Layer {
    pub fn channels(&self) -> usize {
        self.groups * self.outputs
    }

    /// The weight's dimensions, as the framework documents them.
    pub fn shape(&self) -> Vec<usize> {
        let (all_inputs, all_outputs) = (self.groups * self.inputs, self.channels());
        let kernel = self.kernel.as_slice();
        match self.layout {
            TorchConv | TorchLinear | MlxLinear => [&[all_outputs, self.inputs], kernel].concat(),
            TorchConvTranspose => [&[all_inputs, self.outputs], kernel].concat(),
            KerasConv | KerasDense | FlaxConv | FlaxDense => [kernel, &[self.inputs, all_outputs]].concat(),
            KerasConvTranspose => [kernel, &[all_outputs, all_inputs]].concat(),
            KerasDepthwise => [kernel, &[self.groups, self.outputs]].concat(),
            MlxConv | MlxConvTranspose => [&[all_outputs], kernel, &[self.inputs]].concat(),
        }
    }

    /// Where the weight at coordinates `at` acts.
    fn tap(&self, at: &[usize]) -> Tap {
        let n = self.kernel.len();
        // The group of an output channel says which inputs it sees.
        let seen_by = |output: usize, input: usize| output / self.outputs * self.inputs + input;
        match self.layout {
            TorchConv | TorchLinear | MlxLinear => {
                Tap { output: at[0], input: seen_by(at[0], at[1]), kernel: at[2..].to_vec() }
            }
            TorchConvTranspose => {
                let group = at[0] / self.inputs;
                Tap { output: group * self.outputs + at[1], input: at[0], kernel: at[2..].to_vec() }
            }
            KerasConv | KerasDense | FlaxConv | FlaxDense => {
                Tap { output: at[n + 1], input: seen_by(at[n + 1], at[n]), kernel: at[..n].to_vec() }
            }
            KerasConvTranspose => Tap { output: at[n], input: at[n + 1], kernel: at[..n].to_vec() },
            KerasDepthwise => Tap { output: at[n] * self.outputs + at[n + 1], input: at[n], kernel: at[..n].to_vec() },
            MlxConv | MlxConvTranspose => {
                Tap { output: at[0], input: seen_by(at[0], at[n + 1]), kernel: at[1..=n].to_vec() }
            }
        }
    }

    /// One tap a stored weight, in storage order.
    pub fn taps(&self) -> Vec<Tap> {
        let shape = self.shape();
        (0..shape.iter().product()).map(|index| self.tap(&unravel(index, &shape))).collect()
    }

    /// The spatial size of the smallest input that shows every weight at two places.
    fn input_size(&self) -> Vec<usize> {
        let transposed = self.layout.is_transposed();
        self.kernel.iter().map(|k| if transposed { 2 } else { k + 1 }).collect()
    }

    fn output_size(&self) -> Vec<usize> {
        let transposed = self.layout.is_transposed();
        self.kernel.iter().map(|k| if transposed { STRIDE + k } else { 2 }).collect()
    }

    /// How many numbers an input has.
    pub fn input_len(&self) -> usize {
        self.groups * self.inputs * self.input_size().iter().product::<usize>()
    }

    /// The layer without its bias: `output[channel][position]`.
    pub fn forward(&self, weight: &[f64], input: &[f64]) -> Vec<Vec<f64>> {
        let (from, to) = (self.input_size(), self.output_size());
        let positions = |size: &[usize]| size.iter().product::<usize>();
        assert_eq!(input.len(), self.input_len(), "test is broken");
        let mut output = vec![vec![0.0; positions(&to)]; self.channels()];
        for (tap, weight) in self.taps().iter().zip(weight) {
            let mut act = |place: &[usize], seen: &[usize]| {
                let seen = input[tap.input * positions(&from) + ravel(seen, &from)];
                output[tap.output][ravel(place, &to)] += weight * seen;
            };
            if self.layout.is_transposed() {
                for index in 0..positions(&from) {
                    let seen = unravel(index, &from);
                    let place = seen.iter().zip(&tap.kernel).map(|(x, k)| x * STRIDE + k).collect::<Vec<_>>();
                    act(&place, &seen);
                }
            } else {
                for index in 0..positions(&to) {
                    let place = unravel(index, &to);
                    let seen = place.iter().zip(&tap.kernel).map(|(y, k)| y + k).collect::<Vec<_>>();
                    act(&place, &seen);
                }
            }
        }
        output
    }
}

/// Coordinates of flat index `index`, last axis fastest.
fn unravel(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for (coordinate, dim) in at.iter_mut().zip(shape).rev() {
        *coordinate = index % dim;
        index /= dim;
    }
    at
}

fn ravel(at: &[usize], shape: &[usize]) -> usize {
    at.iter().zip(shape).fold(0, |index, (coordinate, dim)| index * dim + coordinate)
}

#[test]
fn definitions_give_what_frameworks_give_on_numbers_that_can_be_checked_by_hand() {
    let layer = |layout, kernel: &[usize], groups, inputs, outputs| Layer {
        layout,
        kernel: kernel.to_vec(),
        groups,
        inputs,
        outputs,
    };
    // torch.nn.functional.conv1d([[1, 2, 3]], [[[10, 1]]]) = [[12, 23]]
    assert_eq!(layer(TorchConv, &[2], 1, 1, 1).forward(&[10.0, 1.0], &[1.0, 2.0, 3.0]), [[12.0, 23.0]]);
    // torch.nn.functional.conv_transpose1d([[1, 2]], [[[10, 1, 3]]], stride=2) = [[10, 1, 23, 2, 6]]
    let transposed = layer(TorchConvTranspose, &[3], 1, 1, 1);
    assert_eq!(transposed.forward(&[10.0, 1.0, 3.0], &[1.0, 2.0]), [[10.0, 1.0, 23.0, 2.0, 6.0]]);
    // Two groups of one input and two outputs, kernel 1: each input reaches its own group's outputs only.
    let grouped = layer(TorchConvTranspose, &[1], 2, 1, 2).forward(&[1.0, 2.0, 3.0, 4.0], &[1.0, 0.0, 5.0, 0.0]);
    assert_eq!(grouped.iter().map(|channel| channel[0]).collect::<Vec<_>>(), [1.0, 2.0, 15.0, 20.0]);
    // keras.ops.depthwise_conv: output channel = input channel * multiplier + m.
    let depthwise = layer(KerasDepthwise, &[1], 2, 1, 2).forward(&[1.0, 2.0, 3.0, 4.0], &[1.0, 0.0, 5.0, 0.0]);
    assert_eq!(depthwise.iter().map(|channel| channel[0]).collect::<Vec<_>>(), [1.0, 2.0, 15.0, 20.0]);
    // Dense: x @ kernel; Linear: x @ weight.T.
    let matrix = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    assert_eq!(layer(KerasDense, &[], 1, 2, 3).forward(&matrix, &[1.0, 10.0]), [[41.0], [52.0], [63.0]]);
    assert_eq!(layer(TorchLinear, &[], 1, 2, 3).forward(&matrix, &[1.0, 10.0]), [[21.0], [43.0], [65.0]]);
}
