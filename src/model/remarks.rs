//! One model: what the user should know before anything is written.
//!
//! In: the plan, its warnings, and what lies beside the checkpoint. Out: [`Warning`]s, in the order in which they are told.

use super::Model;
use crate::fold::Style;
use crate::warning::{LARGEST_EPS, Warning};

impl Model<'_> {
    /// What is known of the result before it is made.
    pub(super) fn remarks(&self) -> Vec<Warning> {
        let own = [self.planned.kept(), self.large_eps(), self.style()];
        let [kept, large_eps, style] = own;
        kept.into_iter().chain(self.planned.warnings.iter().cloned()).chain(large_eps).chain(style).collect()
    }

    /// That an eps is larger than any network's.
    fn large_eps(&self) -> Option<Warning> {
        let large = self.planned.folds.iter().filter(|fold| fold.eps > LARGEST_EPS).collect::<Vec<_>>();
        let first = large.first()?;
        Some(Warning::EpsLarge { norms: large.len(), eps: first.eps, norm: first.norm.name.clone() })
    }

    /// That code of the model's class would not load the result rightly, or that the style was chosen for it.
    fn style(&self) -> Option<Warning> {
        let settings = &self.settings;
        if self.planned.folds.is_empty() {
            return None;
        }
        match (settings.style, &settings.model_class) {
            (Style::Strip, Some(class)) => {
                Some(Warning::ModelClass { class: class.clone(), is_copied: settings.copies_config })
            }
            (Style::DropIn, Some(class)) if settings.style_is_chosen => {
                Some(Warning::StyleChosen { class: class.clone() })
            }
            _ => None,
        }
    }
}
