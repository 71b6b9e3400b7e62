//! What runs SQL, through its public doors: outcomes, determinism, refusals, limits, reads.

mod batches;
mod determinism;
mod outcomes;
mod reads;
mod refusals;
mod scripts;
mod support;
