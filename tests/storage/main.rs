//! The log against what disks do to it: cut, flipped, torn, full, and written at random.

mod damage;
mod format;
mod full;
mod inspection;
mod model;
mod power;
mod reading;
mod support;
