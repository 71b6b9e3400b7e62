//! Nodes that speak to each other over loopback: real listeners and connections, and an inbox that
//! only writes down what it was told.

mod bodies;
mod messages;
mod proxy;
mod raw;
mod refusals;
mod snapshots;
mod speed;
mod support;
