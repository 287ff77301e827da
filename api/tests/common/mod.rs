//! A service that talks to a mock server, quick enough for tests.

#![allow(dead_code)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use afd_api::{
    engine::{Fetch, fetch},
    ledger::Sample,
    secret::KeySource,
    service::{ApiSettings, Service},
};
use afd_mock_api::{Dialect, MODEL, MockServer};

/// The settings for a server; clips cost 0.10, waits are milliseconds.
pub fn settings(dialect: Dialect, url: &str, key: &Path) -> ApiSettings {
    let text = format!(
        "adapter = \"{}\"\n\
            model = \"{MODEL}\"\n\
            base_url = \"{url}\"\n\
            budget = \"1000\"\n\
            price = {{ per_clip = \"0.10\" }}\n\
            parameters = {{ seed = \"{{seed}}\" }}\n\
            concurrency = 4\n\
            deadline_secs = 60\n\
            pace = {{ first_secs = 0.01, growth = 1.5, longest_secs = 0.05, jitter = 0.5 }}\n\
            timeouts = {{ connect_secs = 5.0, answer_secs = 0.5, clip_secs = 1.0 }}\n",
        dialect.adapter()
    );
    let mut settings: ApiSettings = toml::from_str(&text).unwrap();
    settings.key = Some(KeySource::File(key.to_path_buf()));
    settings
}

/// A place with a key file, and a service that keeps its store there.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub settings: ApiSettings,
}

impl Place {
    pub fn new(server: &MockServer, dialect: Dialect) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        fs::write(&key, "canary:1234567890\n").unwrap();
        let mut settings = settings(dialect, &server.url(), &key);
        // The server hands out GIF files.
        settings.adapter = adapter_file(
            folder.path(),
            dialect.adapter(),
            "[result]\n",
            "[result]\nneeds_ffmpeg = false\n",
        );
        // Every provider wants to be asked in its own time; a test has none.
        let own_time = match dialect {
            Dialect::Veo | Dialect::DashScope => Some(("secs = 10.0", "secs = 0.0")),
            Dialect::Runway => Some(("secs = 5.0", "secs = 0.0")),
            Dialect::Replicate => Some(("per_minute = 600", "per_minute = 60000")),
            _ => None,
        };
        if let Some((from, to)) = own_time {
            change_adapter(folder.path(), &settings.adapter, from, to);
        }
        Self { folder, settings }
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub fn service(&self) -> Service {
        Service::new(&self.settings, &self.store(), self.folder.path()).unwrap()
    }

    pub fn fetch(&self, wanted: &[Sample]) -> Fetch {
        fetch(&self.service(), wanted, &|| false, &mut |_| {}).unwrap()
    }
}

/// Changes a line of an adapter's file.
pub fn change_adapter(folder: &Path, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(folder.join(file)).unwrap();
    assert!(text.contains(from), "{file}: {from}");
    fs::write(folder.join(file), text.replacen(from, to, 1)).unwrap();
}

/// A shipped adapter with one line changed, as a file; gives its name for a recipe.
pub fn adapter_file(folder: &Path, name: &str, from: &str, to: &str) -> String {
    let (_, text) = afd_api::adapter::BUILT_IN
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap();
    assert!(text.contains(from), "{name}: {from}");
    let file = format!("{name}-changed.toml");
    fs::write(folder.join(&file), text.replacen(from, to, 1)).unwrap();
    file
}

/// `samples` samples of each prompt.
pub fn samples(prompts: &[&str], samples: u64) -> Vec<Sample> {
    prompts
        .iter()
        .flat_map(|prompt| (0..samples).map(|sample| (prompt.to_string(), sample)))
        .collect()
}

/// Every file below a directory, by its path in it; without what differs from run to run.
pub fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    fn walk(directory: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files)
            } else {
                files.push((path.clone(), fs::read(&path).unwrap()))
            }
        }
    }
    let mut files = Vec::new();
    walk(directory, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|(path, bytes)| (path.strip_prefix(directory).unwrap().to_path_buf(), bytes))
        .collect()
}
