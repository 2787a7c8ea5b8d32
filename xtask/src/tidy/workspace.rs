use std::error::Error;
use std::path::{Path, PathBuf};
use std::{fs, io};

use cargo_metadata::{DependencyKind, MetadataCommand, Package, TargetKind};

use super::Finding;
use super::source::Source;

/// What the rules look at: the crates, their manifests and their sources.
#[derive(Default)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Contents of the Cargo.toml at the root.
    pub(crate) manifest: String,
    pub(crate) crates: Vec<Crate>,
    /// The .proto files: path and contents.
    pub(crate) protos: Vec<(PathBuf, String)>,
    /// Sources that the parser refused.
    pub(crate) unreadable: Vec<Finding>,
}

/// One crate of the workspace.
#[derive(Default)]
pub(crate) struct Crate {
    /// The name of its folder: disk, wal, …
    pub(crate) room: String,
    /// Its name for cargo: revd-disk, revd-wal, …
    pub(crate) package: String,
    pub(crate) has_library: bool,
    pub(crate) is_published: bool,
    /// Contents of its Cargo.toml.
    pub(crate) manifest: String,
    /// Crates of ours that it is built from, by package name; those of its tests aside.
    pub(crate) uses: Vec<String>,
    pub(crate) sources: Vec<Source>,
}

impl Workspace {
    /// Reads the workspace at `root`.
    ///
    /// # Errors
    ///
    /// When cargo does not understand a manifest, or a file cannot be read.
    pub(crate) fn load(root: &Path) -> Result<Self, Box<dyn Error>> {
        let metadata = MetadataCommand::new().current_dir(root).no_deps().exec()?;
        let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
        let mut workspace = Self { root: root.to_owned(), manifest, ..Self::default() };
        for package in &metadata.packages {
            workspace.add(package)?;
        }
        Ok(workspace)
    }

    fn add(&mut self, package: &Package) -> Result<(), Box<dyn Error>> {
        let manifest_path = package.manifest_path.as_std_path();
        let folder = manifest_path.parent().ok_or("a manifest without a folder")?;
        let room = folder.strip_prefix(&self.root)?.display().to_string();
        let mut sources = Vec::new();
        for path in files_below(folder)? {
            let relative = path.strip_prefix(&self.root)?;
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => match Source::parse(&room, relative, fs::read_to_string(&path)?) {
                    Ok(source) => sources.push(source),
                    Err(finding) => self.unreadable.push(finding),
                },
                Some("proto") => {
                    self.protos.push((relative.to_owned(), fs::read_to_string(&path)?));
                }
                _ => {}
            }
        }
        Source::mark_test_files(&mut sources);
        self.crates.push(Crate {
            package: package.name.to_string(),
            has_library: package.targets.iter().any(|t| t.kind.contains(&TargetKind::Lib)),
            is_published: package.publish.as_ref().is_none_or(|registries| !registries.is_empty()),
            manifest: fs::read_to_string(manifest_path)?,
            uses: own_dependencies(package),
            room,
            sources,
        });
        Ok(())
    }

    /// All Rust sources of all crates.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.crates.iter().flat_map(|member| &member.sources)
    }

    /// The room of a package, if it is one of ours.
    pub(crate) fn room_of(&self, package: &str) -> Option<&str> {
        let found = self.crates.iter().find(|member| member.package == package);
        found.map(|member| member.room.as_str())
    }
}

impl Crate {
    /// A finding in the manifest, at the line that begins with `start`.
    pub(crate) fn finding_in_manifest(&self, start: &str, advice: String) -> Finding {
        let line = self.manifest.lines().position(|line| line.starts_with(start));
        let path = Path::new(&self.room).join("Cargo.toml");
        Finding { path, line: line.map_or(1, |line| line + 1), advice }
    }
}

fn own_dependencies(package: &Package) -> Vec<String> {
    let dependencies = package.dependencies.iter();
    dependencies
        .filter(|dependency| dependency.path.is_some())
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.clone())
        .collect()
}

/// All files below a folder, sorted, but for build results, hidden ones, and folders that are
/// packages of their own.
fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || name == "target" || path.join("Cargo.toml").exists() {
            continue;
        }
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}
