//! Integration tests: one binary, one module an area.
//!
//! They run the program as a user would, on files in temporary folders, and hold the results against references of their
//! own. GPU tests need an adapter (a software one will do) and fail without it: a check that is skipped is no check.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails should say so and stop")]
#![expect(unreachable_pub, reason = "`pub` says that another module uses it; nothing leaves this binary")]
#![expect(clippy::cast_possible_truncation, reason = "numbers are the tests' own; rounding to f32 is what is wanted")]

// What is folded is accepted by `verify`, in every mix of types.
mod agreement;
// Folded layers compute what layers and norms did.
mod arithmetic;
// Architectures that a user states: right, or refused.
mod archs;
// Runs at the same time on one output.
mod at_once;
// The benchmark: its JSON, and what it leaves behind.
mod bench;
// A real browser without a window.
mod browser;
// A layer and its norm, with the reference for everything folding makes of them.
mod case;
// The checks on the way out, seen to fail.
mod checks_fail;
// Checkpoints in object stores and on web servers.
#[cfg(feature = "cloud")]
mod cloud;
// Exit codes, help, and what is generated from the command line's definition.
mod command_line;
// Warnings and remarks that are failures.
mod deny;
// A graphics device that is lost, early and late.
#[cfg(feature = "gpu")]
mod device_loss;
// A trained network keeps its logits and its accuracy.
mod digits;
// README and docs/ say what is true.
mod docs;
// Numbers and lists in README and docs/ are those of the code.
mod docs_numbers;
// `--dtype` on the command line: every float of the output in another type.
mod dtype_option;
// `--dtype`: what is folded and what is not is rounded once.
mod dtypes;
// Files made to exhaust a machine.
mod exhausting;
// Every source of eps, and their order.
mod eps;
// Where a norm's eps comes from, as the command line has it.
mod eps_sources;
// What values say about pairs.
mod evidence;
// Every folded number is exact to the bit or the ulp; everything else is the same bytes.
mod exact;
// Whatever fails leaves nothing behind.
mod failures;
// Names that are not what they look like.
mod misleading;
// What a new user types in the first minute.
mod first_minute;
// A graphics device that misbehaves.
#[cfg(all(feature = "gpu", target_os = "linux"))]
mod faults;
// Repositories of the Hugging Face Hub.
#[cfg(feature = "hub")]
mod hub;
// Files for the other modules, and ways to run the program.
mod fixture;
// Hostile files, each with the outcome it must have.
#[cfg(unix)]
mod hostile;
// Folded files verified in other people's pipelines.
#[cfg(unix)]
mod hooks;
// docs/install.md, as printed.
#[cfg(unix)]
mod install;
// The library's face, and the examples of its use.
mod job;
// The shaders, word for word.
#[cfg(feature = "gpu")]
mod kernels;
// What checkpoints and results say of themselves.
mod info;
// What killed runs leave, links in the way, limits.
mod killed;
// Layers by the definitions of their frameworks.
mod layers;
// Folding through the library; tensors read back.
mod library;
// The crate, archives, images and workflows.
#[cfg(unix)]
mod packaging;
// docs/loading.md: what loads folded files.
mod loading;
// The report page of whole zoos: names, views, CSV, models that were done before.
mod page;
// Weights that fill, share or span batches; results that overflow.
#[cfg(feature = "gpu")]
mod pieces;
// Plans that users edit, and the line that is named when they do not fit.
mod plan_files;
// Why a norm is folded or stays.
mod explain;
// Errors of every kind planted in every type and style.
mod planted;
// What other schedulers need: `--dry-run`, `--only`, `report`.
#[cfg(unix)]
mod manifests;
// Files that cannot be read, or only just.
mod reading;
// Networks that others trained.
mod real_models;
// `--report`: the page in a browser, numerical remarks, and what a report may replace.
mod report;
// Modules import from the ground up.
mod rooms;
// Several models in one call.
mod several_models;
// Sharded models: one model in several files.
mod sharded;
// What people read, word for word.
mod snapshots;
// Options are named by the command line alone.
mod words;
// What goes to stdout, what to stderr, and what never reaches a terminal.
mod streams;
// Real architectures, whose true pairs are known.
mod traced;
// What the system refuses to read.
mod unreadable;
// URLs, and what a program that cannot follow them says.
mod urls;
// `verify` passes what is right and finds what is wrong.
mod verify_catches;
// Vulkan layers that tests put between the program and the driver.
#[cfg(all(feature = "gpu", target_os = "linux"))]
mod vulkan;
// Whole folders of models.
mod zoo;
// The output file: its name, mode and bytes, and what it may replace.
mod writing;
