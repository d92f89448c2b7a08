//! 2 PLAN, catalogue, tests: what the catalogue covers, as a page.
//!
//! In: the catalogue and its lists. Out: `docs/catalogue.md`, which must be what is made here.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;

/// The page.
fn page() -> String {
    let mut page = "# What the catalogue covers\n\n\
        One line a library: how many architectures are listed by name; of how many it is known what their norms are called, \
        so that a checkpoint of another network is refused; how many of these have batch norms; which values of eps its \
        architectures have. `bnfold-gpu archs` lists them one by one. Names that \
        are put together (`smp/MODEL__ENCODER`) and variants (`transformers/TYPE-VARIANT`) are known, too, and not counted.\n\n\
        | library | architectures | names of norms known | with batch norms | eps |\n|---|---|---|---|---|\n"
        .to_owned();
    let all = architectures();
    for library in &Catalogue::built_in().libraries {
        let own = all.iter().filter(|known| known.name.split_once('/').is_some_and(|(of, _)| of == library.name));
        let own = own.collect::<Vec<_>>();
        let groups = own.iter().filter_map(|known| known_group(&known.name)).collect::<Vec<_>>();
        let with_norms = groups.iter().filter(|group| !group.norms.is_empty()).count();
        let every_eps = own.iter().flat_map(|known| {
            let others = known.parts.iter().map(|part| part.eps).chain(known.unless.iter().map(|(eps, _)| *eps));
            others.chain([known.eps])
        });
        let eps = every_eps.map(|eps| format!("{eps:e}")).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
        let (name, listed, named) = (&library.name, own.len(), groups.len());
        writeln!(page, "| {name} | {listed} | {named} | {with_norms} | {} |", eps.join(", ")).unwrap();
    }
    page
}

fn known_group(name: &str) -> Option<&'static networks::Group> {
    Catalogue::built_in().look_up(name).ok()?.listed()?.group
}

#[test]
fn the_page_of_the_catalogue_is_what_it_covers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/catalogue.md");
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == page(), "docs/catalogue.md is out of date; it should be:\n\n{}", page());
}
