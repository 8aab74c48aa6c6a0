//! The simulation: the real brain, the real media sessions, scripted phones and a model of
//! everything around them, in virtual time, from a seed. `stories` tells one case each; `swarm`
//! tries what nobody thought of. A failure prints its seed; put it into `seeds.txt`.

mod actions;
mod cast;
mod chance;
mod coverage;
mod invariants;
mod media;
mod menus;
mod model;
mod net;
mod people;
mod recorder;
mod store;
mod stories;
mod swarm;
mod telling;
mod trace;
mod whispers;
mod wire;
mod witness;
mod world;
