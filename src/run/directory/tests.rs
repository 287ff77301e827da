use super::*;

fn create(root: &Path) -> Result<RunDirectory, RunError> {
    RunDirectory::create(
        root,
        "first",
        "seed = 7\n",
        &Environment::current("ndarray", "cpu", 7),
    )
}

#[test]
fn a_new_run_holds_its_recipe_its_environment_and_its_subdirectories() {
    let root = tempfile::tempdir().unwrap();
    let run = create(&root.path().join("runs")).unwrap();
    assert_eq!(fs::read_to_string(run.recipe_path()).unwrap(), "seed = 7\n");
    let environment: Environment =
        serde_json::from_str(&fs::read_to_string(run.path().join("environment.json")).unwrap())
            .unwrap();
    assert_eq!(environment, Environment::current("ndarray", "cpu", 7));
    assert_eq!(
        (environment.os.as_str(), environment.seed),
        (std::env::consts::OS, 7)
    );
    assert!(!environment.command_line.is_empty());
    assert!(
        ["checkpoints", "events", "samples"]
            .iter()
            .all(|name| run.path().join(name).is_dir())
    );
}

#[test]
fn no_environment_variable_reaches_the_run_directory() {
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path()).unwrap();
    let text = fs::read_to_string(run.path().join("environment.json")).unwrap();
    let path = std::env::var("PATH").unwrap();
    assert!(path.len() > 4 && !text.contains(&path), "{text}");
}

#[test]
fn of_several_that_make_the_same_run_at_once_one_does_and_the_others_hear_that_it_exists() {
    let root = tempfile::tempdir().unwrap();
    let start = std::sync::Barrier::new(8);
    for _ in 0..20 {
        let place = tempfile::tempdir_in(root.path()).unwrap();
        let made = std::thread::scope(|scope| {
            let maker = || {
                start.wait();
                create(place.path())
            };
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(maker)).collect();
            let made = makers.into_iter().map(|maker| maker.join().unwrap());
            made.collect::<Vec<_>>()
        });
        let refused = made.iter().filter_map(|made| made.as_ref().err());
        let mut others = 0;
        for error in refused {
            assert!(matches!(error, RunError::Exists { .. }), "{error}");
            others += 1;
        }
        assert_eq!(others, 7);
    }
}

#[test]
fn an_existing_run_is_refused_and_kept() {
    let root = tempfile::tempdir().unwrap();
    drop(create(root.path()).unwrap());
    let other = RunDirectory::create(
        root.path(),
        "first",
        "seed = 8\n",
        &Environment::current("ndarray", "cpu", 8),
    );
    let error = other.unwrap_err().to_string();
    assert!(
        error.contains("first") && error.contains("--resume") && error.contains("--name"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(root.path().join("first/recipe.resolved.toml")).unwrap(),
        "seed = 7\n"
    );
}

#[test]
fn a_run_being_written_cannot_be_opened_until_its_writer_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path()).unwrap();
    let path = run.path().to_path_buf();
    assert!(matches!(
        RunDirectory::open(&path),
        Err(RunError::InUse { .. })
    ));
    drop(run);
    assert_eq!(RunDirectory::open(&path).unwrap().path(), path);
}

#[test]
fn opening_clears_leftovers() {
    let root = tempfile::tempdir().unwrap();
    let path = create(root.path()).unwrap().path().to_path_buf();
    fs::create_dir(path.join("checkpoints/.staging-1-0")).unwrap();
    fs::write(path.join(".staging-1-1"), "x").unwrap();
    RunDirectory::open(&path).unwrap();
    assert!(!path.join("checkpoints/.staging-1-0").exists() && !path.join(".staging-1-1").exists());
}

#[test]
fn a_directory_that_is_no_run_is_refused_untouched() {
    let root = tempfile::tempdir().unwrap();
    let error = RunDirectory::open(root.path()).unwrap_err().to_string();
    assert!(error.contains("recipe.resolved.toml"), "{error}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn names_that_leave_the_root_or_hide_are_refused() {
    let root = tempfile::tempdir().unwrap();
    for name in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        ".hidden",
        "C:",
        "a b",
        &"x".repeat(101),
    ] {
        let error = RunDirectory::create(root.path(), name, "", &Environment::current("", "", 0))
            .unwrap_err();
        assert!(matches!(error, RunError::Name { .. }), "{name}: {error}");
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn each_resume_adds_its_own_environment() {
    let root = tempfile::tempdir().unwrap();
    let run = create(root.path()).unwrap();
    let environment = Environment::current("cuda", "cuda:0", 7);
    assert!(
        run.record_resume(&environment)
            .unwrap()
            .ends_with("environment.resumed-1.json")
    );
    assert!(
        run.record_resume(&environment)
            .unwrap()
            .ends_with("environment.resumed-2.json")
    );
}
