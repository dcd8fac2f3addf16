//! Programs of other projects: sipp, baresip, linphone, kamailio, rtpengine.

mod phones;
mod rtpengine;
mod sipp;
mod sipp_scenarios;
