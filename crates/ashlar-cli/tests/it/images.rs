//! Images: `ashlar image build` beside the tool whose meaning of Dockerfiles it shares.

mod compare;
