//! What belongs to a project rather than to a run: its `thresh.toml`, its name, and the folder that keeps what
//! Thresh remembers about it.

mod config;
mod name;
mod state;

pub use config::{
    CONFIG_FILE, ConfigError, DebugSections, EnvConfig, FarmConfig, PanicLocations, ProjectConfig,
    ReuseConfig, ReuseFiles, RunConfig,
};
pub use name::project_name;
pub use state::{StateError, StateFolder, StateVariables, WorkspaceState};
