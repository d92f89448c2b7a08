//! Pairing, stage 8: reasons to keep a norm, in words.
//!
//! In: what was found. Out: a sentence fragment that names it and says what would settle the matter.

use super::ledger::Ledger;
use super::relations::Candidate;
use super::shape::puts_out;
use crate::network::{Op, Weight};

pub(super) fn nothing_found(channels: u64) -> String {
    format!(
        "no weight in its scope is named or placed like its producer with {channels} output channels; name it in a plan"
    )
}

pub(super) fn norm_first(ledger: &Ledger<'_>, member: &Candidate) -> String {
    let name = &ledger.weight(member.weight).tensor;
    format!("norms of its kind run before their layers: it feeds `{name}`, and what feeds it is not in its block")
}

pub(super) fn misfit(ledger: &Ledger<'_>, member: &Candidate) -> String {
    let (weight, channels) = (ledger.weight(member.weight), ledger.channels(member.norm));
    match puts_out(weight, channels) {
        false => other_channels(weight, channels),
        true => format!("`{}` fits, but in other blocks of this kind the same pair does not", weight.tensor),
    }
}

pub(super) fn rivals(ledger: &Ledger<'_>, norm: usize, weights: &[usize]) -> String {
    let names = weights.iter().take(3).map(|&weight| format!("`{}`", ledger.weight(weight).tensor));
    let names = names.collect::<Vec<_>>().join(" and ");
    let more = if weights.len() > 3 { format!(" and {} more", weights.len() - 3) } else { String::new() };
    let channels = ledger.channels(norm);
    format!("{names}{more} have {channels} output channels and nothing tells them apart; name the right one in a plan")
}

pub(super) fn shared(ledger: &Ledger<'_>, member: &Candidate) -> String {
    let name = &ledger.weight(member.weight).tensor;
    format!("`{name}` may be shared: the same norm in other blocks has no weight beside it")
}

pub(super) fn mixed_kin(ledger: &Ledger<'_>, member: &Candidate) -> String {
    let name = &ledger.weight(member.weight).tensor;
    format!("`{name}` fits, but modules named like these run their norm first elsewhere in the file; name it in a plan")
}

pub(super) fn biased(ledger: &Ledger<'_>, member: &Candidate) -> String {
    let name = &ledger.weight(member.weight).tensor;
    format!(
        "`{name}` has a bias, which a norm directly behind it would make useless: something may stand between; name the weight in a plan"
    )
}

pub(super) fn either_side(ledger: &Ledger<'_>, member: &Candidate) -> String {
    let name = &ledger.weight(member.weight).tensor;
    format!("`{name}` fits, but the norm may as well stand elsewhere in the block; name it in a plan")
}

/// Whether values may settle a doubt: one about which side of the norm the layer is on, or about its bias, but not one
/// about what else may stand between them.
pub(super) fn is_open_to_values(ledger: &Ledger<'_>, member: &Candidate, doubt: &str) -> bool {
    [biased, either_side, mixed_kin].iter().any(|settled| doubt == settled(ledger, member))
}

pub(super) fn drifting(ledger: &Ledger<'_>, member: &Candidate) -> String {
    let name = &ledger.weight(member.weight).tensor;
    format!("`{name}` has the same number, but norms and layers were counted apart here; name the right one in a plan")
}

pub(super) fn before() -> String {
    "by its name or its block's it runs before its layer; name its producer in a plan".to_owned()
}

pub(super) fn between() -> String {
    "by its name, another module of the block may stand between it and its weight; name its producer in a plan"
        .to_owned()
}

pub(super) fn no_order() -> String {
    "its block's layers fit its block's numbered norms in no order, or in several; name its producer in a plan"
        .to_owned()
}

pub(super) fn bare() -> &'static str {
    "most norms of this file have neither scale nor shift, as where weights are binarised when they are used"
}

pub(super) fn several_norms(ledger: &Ledger<'_>, weight: usize) -> String {
    format!("`{}` seems to feed several norms", ledger.weight(weight).tensor)
}

pub(super) fn quantized(weight: &Weight) -> String {
    format!("its weight `{}` is stored as {}: quantized weights are not folded", weight.tensor, weight.dtype)
}

pub(super) fn aliased(weight: &Weight) -> String {
    format!("its weight `{}` is used under other names too, so that it feeds more than this norm", weight.tensor)
}

pub(super) fn computed(weight: &Weight, companion: &str) -> String {
    format!("`{}` may not be used as it is stored: `{companion}` lies beside it", weight.tensor)
}

pub(super) fn transposed(weight: &Weight) -> String {
    let name = &weight.tensor;
    format!("`{name}` may be a convolution or a transposed one, and names do not tell; say which in a plan")
}

pub(super) fn other_channels(weight: &Weight, channels: u64) -> String {
    match weight.bias_channels {
        Some(bias) if bias != channels => {
            format!("`{}` has a bias of {bias} channels, and the norm has {channels}", weight.tensor)
        }
        _ => format!("`{}` has shape {:?} and cannot put out its {channels} channels", weight.tensor, weight.shape),
    }
}

pub(super) fn other_operation(weight: &Weight, op: Op) -> String {
    format!("`{}` of shape {:?} is no {}", weight.tensor, weight.shape, op.name())
}

pub(super) fn feeds_another(weight: &Weight, norm: &str, source: &str) -> String {
    format!("`{}` feeds `{norm}`; {source}", weight.tensor)
}
