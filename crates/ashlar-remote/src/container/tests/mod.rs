//! Images beside real registries and real programs.
