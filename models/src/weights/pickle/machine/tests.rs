use super::*;

/// What `collect` says of a program.
fn collected(program: &[u8]) -> Result<usize, PickleError> {
    let mut machine = Machine::default();
    let root = machine.run(&mut Code::new(program))?;
    let mut count = 0;
    machine.collect(root, &mut Vec::new(), &mut 0, &mut |_, _| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

#[test]
fn dictionaries_that_hold_themselves_or_multiply_are_refused() {
    // d = {}; d["a"] = d
    assert!(
        collected(b"}q\x00X\x01\x00\x00\x00ah\x00s.")
            .unwrap_err()
            .to_string()
            .contains("deep")
    );
    // Fifteen times {"0": below, "1": below, .. "7": below}: 8^15 paths, a few hundred bytes.
    let mut program = b"}q\x00".to_vec();
    for _ in 0..15 {
        program.extend(b"}(");
        (0..8).for_each(|key| program.extend([b'X', 1, 0, 0, 0, b'0' + key, b'h', 0]));
        program.extend(b"uq\x00");
    }
    program.push(b'.');
    assert!(
        collected(&program)
            .unwrap_err()
            .to_string()
            .contains("entries")
    );
}

#[test]
fn programs_that_take_what_is_not_there_are_refused() {
    for program in [
        &b"0."[..],
        b".",
        b"s.",
        b"t.",
        b"h\x07.",
        b"(0.",
        b"X\xff\xff\xff\xffa.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xfe",
    ] {
        collected(program).expect_err(&format!("{program:?}"));
    }
    assert_eq!(collected(b"N.").unwrap(), 0);
}

#[test]
fn names_that_are_copied_again_and_again_are_refused() {
    // A name of 64 KB, and a million calls of four bytes that would double it.
    let mut program = b"X\x00\x00\x01\x00".to_vec();
    program.extend(vec![b'a'; 1 << 16]);
    program.extend(b"q\x00");
    (0..1 << 20).for_each(|_| program.extend(b"h\x00h\x00\x93"));
    let error = collected(&program).unwrap_err().to_string();
    assert!(
        error.contains("bytes, which no checkpoint needs"),
        "{error}"
    );
}
