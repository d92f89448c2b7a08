//! 3 FOLD: scales and shifts of f64 norms, rounded once.
//!
//! In: a norm's parameters. Out: numbers as sums of two f64, the second what the first leaves out (Dekker 1971,
//! doi 10.1007/BF01397083; Knuth, The Art of Computer Programming 2, 4.2.2), with an exponent of their own: nothing between
//! the parameters and the last rounding is lost, overflows or is subnormal. It is done once a channel, so it costs nothing.

/// (high + low) * 2^exponent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wide {
    high: f64,
    low: f64,
    exponent: i32,
}

impl Wide {
    /// gamma / sqrt(var + eps), of finite numbers with var + eps above 0.
    pub(super) fn scale(gamma: f64, var: f64, eps: f64) -> Wide {
        // An even exponent: half of it is that of the root.
        let even = exponent(var.max(eps)) & !1;
        let (sum, rest) = two_sum(power(var, -even), power(eps, -even));
        let root = sum.sqrt();
        let rest = (root.mul_add(-root, sum) + rest) / (2.0 * root);
        let own = exponent(gamma);
        let (high, low) = quotient((power(gamma, -own), 0.0), (root, rest));
        Wide { high, low, exponent: own - even / 2 }
    }

    /// It divided by a finite number other than 0.
    pub(super) fn over(self, divisor: f64) -> Wide {
        let own = exponent(divisor);
        let (high, low) = quotient((self.high, self.low), (power(divisor, -own), 0.0));
        Wide { high, low, exponent: self.exponent - own }
    }

    /// (bias - mean) * it + beta.
    pub(super) fn shift(self, bias: f64, mean: f64, beta: f64) -> f64 {
        let (difference, rest) = two_sum(bias, -mean);
        let product = difference * self.high;
        let low = difference.mul_add(self.high, -product) + difference * self.low + rest * self.high;
        let (sum, rest) = two_sum(power(product, self.exponent), beta);
        sum + (rest + power(low, self.exponent))
    }

    /// The nearest f64.
    pub(super) fn rounded(self) -> f64 {
        power(self.high + self.low, self.exponent)
    }
}

/// The quotient of two sums; what it leaves out is less than 2^-100 of it.
fn quotient((high, low): (f64, f64), (divisor, rest): (f64, f64)) -> (f64, f64) {
    let quotient = high / divisor;
    let left = divisor.mul_add(-quotient, high) + low - quotient * rest;
    (quotient, left / divisor)
}

/// A sum, and what it leaves out.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// The exponent that brings a number between 1 and 2; 0 for 0.
fn exponent(value: f64) -> i32 {
    let field = |value: f64| i32::try_from(value.to_bits() >> 52 & 0x7ff).unwrap_or(0);
    match value {
        0.0 => 0,
        _ if value.is_subnormal() => field(value * POWER_64) - 1023 - 64,
        _ => field(value) - 1023,
    }
}

const POWER_64: f64 = 18_446_744_073_709_551_616.0;

/// `value * 2^exponent`, rounded where it is subnormal.
fn power(value: f64, exponent: i32) -> f64 {
    let factor = |exponent: i32| f64::from_bits(u64::try_from(exponent + 1023).unwrap_or(1) << 52);
    let (mut value, mut left) = (value, exponent);
    // In steps that f64 can hold; only the last of them can round.
    while !(-1000..=1000).contains(&left) && value != 0.0 && value.is_finite() {
        let step = left.clamp(-1000, 1000);
        (value, left) = (value * factor(step), left - step);
    }
    value * factor(left.clamp(-1000, 1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A finite number of any size but the last few, and its parts: sign times an integer times a power of two.
    fn parts(value: f64) -> (i128, i32) {
        let (field, mantissa) = (value.to_bits() >> 52 & 0x7ff, value.to_bits() & ((1 << 52) - 1));
        let integer = i128::from(if field == 0 { mantissa } else { mantissa | 1 << 52 });
        (if value < 0.0 { -integer } else { integer }, field.max(1) as i32 - 1075)
    }

    /// An unsigned integer of many bits, lowest first; sums, products and comparisons by the school's rules.
    #[derive(Clone, PartialEq, Eq, Debug)]
    struct Big(Vec<u32>);

    impl Big {
        fn of(value: u128) -> Big {
            Big((0..4).map(|limb| (value >> (32 * limb)) as u32).collect()).trimmed()
        }
        fn trimmed(mut self) -> Big {
            while self.0.last() == Some(&0) {
                self.0.pop();
            }
            self
        }
        fn times(&self, other: &Big) -> Big {
            let mut limbs = vec![0u32; self.0.len() + other.0.len() + 1];
            for (i, &a) in self.0.iter().enumerate() {
                let mut carry = 0u64;
                for (j, limb) in limbs[i..].iter_mut().enumerate() {
                    let b = other.0.get(j).copied().unwrap_or(0);
                    let sum = u64::from(*limb) + u64::from(a) * u64::from(b) + carry;
                    (*limb, carry) = (sum as u32, sum >> 32);
                }
            }
            Big(limbs).trimmed()
        }
        fn shifted(&self, bits: u32) -> Big {
            let mut limbs = vec![0; bits as usize / 32];
            let mut carry = 0u64;
            for &limb in &self.0 {
                let wide = u64::from(limb) << (bits % 32) | carry;
                limbs.push(wide as u32);
                carry = wide >> 32;
            }
            limbs.push(carry as u32);
            Big(limbs).trimmed()
        }
        fn plus(&self, other: &Big) -> Big {
            let mut carry = 0u64;
            let length = self.0.len().max(other.0.len()) + 1;
            let limb = |big: &Big, i: usize| u64::from(big.0.get(i).copied().unwrap_or(0));
            let sums = (0..length).map(|i| {
                carry += limb(self, i) + limb(other, i);
                let low = carry as u32;
                carry >>= 32;
                low
            });
            Big(sums.collect()).trimmed()
        }
        fn less(&self, other: &Big) -> bool {
            (self.0.len(), self.0.iter().rev().collect::<Vec<_>>()) < (other.0.len(), other.0.iter().rev().collect())
        }
    }

    /// Whether a * 2^x < b * 2^y.
    fn is_less((a, x): (&Big, i32), (b, y): (&Big, i32)) -> bool {
        let least = x.min(y);
        a.shifted((x - least) as u32).less(&b.shifted((y - least) as u32))
    }

    /// Whether the exact scale lies above `half_way` / 2, where `half_way` is a sum of neighbours: both sides squared, so that
    /// everything is an integer. gamma^2 > (m / 2)^2 * (var + eps).
    fn is_above(gamma: f64, var: f64, eps: f64, (m, e): (i128, i32)) -> bool {
        let square = |(integer, exponent): (i128, i32)| {
            let big = Big::of(integer.unsigned_abs());
            (big.times(&big), 2 * exponent)
        };
        let (gamma, mid) = (square(parts(gamma)), square((m, e)));
        let ((v, x), (w, y)) = (parts(var), parts(eps));
        let least = x.min(y);
        let sum = Big::of(v as u128).shifted((x - least) as u32).plus(&Big::of(w as u128).shifted((y - least) as u32));
        is_less((&mid.0.times(&sum), mid.1 + least), (&gamma.0, gamma.1))
    }

    fn sized(range: std::ops::Range<i32>) -> impl Strategy<Value = f64> {
        (1.0..2.0f64, range).prop_map(|(value, exponent)| power(value, exponent))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Both neighbours' middles lie on their sides of the exact scale.
        #[test]
        fn a_scale_is_the_nearest_f64(gamma in sized(-900..900), var in sized(-200..200), eps in sized(-60..1)) {
            let scale = Wide::scale(gamma, var, eps).rounded();
            prop_assume!(scale.is_normal());
            let (integer, exponent) = parts(scale);
            prop_assert!(is_above(gamma, var, eps, (2 * integer - 1, exponent - 1)), "{scale:e} is too large");
            prop_assert!(!is_above(gamma, var, eps, (2 * integer + 1, exponent - 1)), "{scale:e} is too small");
        }

        /// Scales of which the root is a whole number, and numbers in millionths: everything is an integer.
        #[test]
        fn a_shift_is_rounded_once(
            root in 1i128..1 << 20, scale in -(1i128 << 30)..1 << 30,
            bias in -(1i128 << 53)..1 << 53, mean in -(1i128 << 53)..1 << 53, beta in -(1i128 << 53)..1 << 53, size in 0..30
        ) {
            let unit = |integer: i128| power(integer as f64, -20);
            let wide = Wide::scale((scale * root) as f64, (root * root) as f64, 0.0);
            let (got, exact) = (wide.shift(unit(bias >> size), unit(mean), unit(beta)), ((bias >> size) - mean) * scale + beta);
            prop_assert_eq!(got, unit(exact));
            // The reference, by its promise.
            let (reference, largest) = super::super::oracle::shift(unit(bias >> size), unit(mean), wide.rounded(), unit(beta));
            let ulp = crate::checkpoint::Float::F64.ulp(largest);
            prop_assert!((reference - got).abs() <= ulp, "{} ulp", (reference - got).abs() / ulp);
        }

        #[test]
        fn the_oracle_comes_to_the_same_by_another_formula(
            gamma in sized(-900..900), var in sized(-200..200), eps in sized(-60..1), factor in sized(-2..2)
        ) {
            let (path, oracle) = (Wide::scale(gamma, var, eps), super::super::oracle::scale(gamma, var, eps));
            prop_assume!(oracle.is_normal());
            prop_assert_eq!(path.rounded().to_bits(), oracle.to_bits());
            let over = super::super::oracle::scale_over(gamma, var, eps, factor);
            prop_assert_eq!(path.over(factor).rounded().to_bits(), over.to_bits());
        }
    }

    #[test]
    fn nothing_overflows_or_vanishes_on_the_way() {
        assert_eq!(Wide::scale(1e-200, 1e-300, 0.0).rounded(), 1e-200 / 1e-150);
        assert_eq!(Wide::scale(3.0, f64::MAX, f64::MAX).rounded(), 3.0 / f64::MAX.sqrt() / 2f64.sqrt());
        assert_eq!(Wide::scale(-1.5, 5e-324, 0.0).rounded(), -1.5 / 5e-324f64.sqrt());
        assert_eq!((Wide::scale(0.0, 1.0, 1e-5).rounded(), Wide::scale(5e-324, 1.0, 0.0).rounded()), (0.0, 5e-324));
    }
}
