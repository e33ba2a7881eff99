use proptest::prelude::*;

use super::*;

fn imports(text: &str) -> Vec<String> {
    let shown = |import: &Import| {
        let dots = ".".repeat(import.level.into());
        let main = if import.main { "main:" } else { "" };
        let names = import.names.join("+");
        format!("{main}{dots}{} {names}", import.module)
            .trim_end()
            .to_owned()
    };
    read(text.as_bytes()).imports.iter().map(shown).collect()
}

fn check(text: &str, expect: &[&str]) {
    assert_eq!(imports(text), expect, "{text}");
}

#[test]
fn import_statements_are_read_as_python_does() {
    check(
        "import os, sys as s;import a.b . c",
        &["os", "sys", "a.b.c"],
    );
    check("from x.y import (a,\n  b as c, # d\n)\n", &["x.y a+b"]);
    check("from . import a\nfrom ..b import *", &[". a", "..b"]);
    check("from.c import d", &[".c d"]);
    check("import a\\\n.b\r\nimport c\r\n", &["a.b", "c"]);
    check("\u{feff}import a", &["a"]);
    check("x = '''\nimport a\n'''\nimport b", &["b"]);
    check("x = r'\\'; import b", &[]);
    check("x = rb\"\\\"\"; import b", &["b"]);
    check("x = 'open\nimport b", &["b"]);
    check("x = [\nimport_a,\n]\nimport b", &["b"]);
    check("# import a\n\timport b", &["b"]);
    check("importa = 1\nimport_b()\nfrom_x = 2\nyield_from = 3", &[]);
    check("f(from_=1)\nraise X from e", &[]);
    check("from x\nimport", &[]);
}

#[test]
fn only_what_is_run_for_certain_counts() {
    check("def f():\n  import a\nimport b", &["b"]);
    check(
        "async def f():\n  import a\nclass C:\n  import b\n  def f(self):\n    import c\n",
        &["b"],
    );
    check(
        "if x: import a\nif y:\n import b\nelse:\n import c\nimport d",
        &["d"],
    );
    check(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  import a",
        &["typing TYPE_CHECKING"],
    );
    check(
        "if __name__ == '__main__':\n  import a\n  if x:\n    import b\n",
        &["main:a"],
    );
    check("if ('__main__' == __name__):\n  import a\n", &["main:a"]);
    check(
        "with open(x) as f:\n  import a\nwith contextlib.suppress(ImportError):\n  import b",
        &["a"],
    );
    check(
        "while x:\n  import a\nfor a in b:\n  import c\nmatch = 1\nimport d",
        &["d"],
    );
}

#[test]
fn a_try_counts_unless_it_survives_the_failure() {
    check(
        "try:\n  import a\nexcept ImportError:\n  a = None\nimport b",
        &["b"],
    );
    check("try:\n  import a\nexcept:\n  pass\n", &[]);
    check(
        "try:\n  import a\nexcept (KeyError, x.Odd) as e:\n  pass\n",
        &[],
    );
    check(
        "try:\n  import a\nexcept (KeyError, OSError) as e:\n  pass\nelse:\n  import c\nfinally:\n  import b\n",
        &["a", "b"],
    );
    check(
        "try:\n  import a\nexcept ImportError as e:\n  print(e)\n  sys.exit(1)\n",
        &["a"],
    );
    check(
        "try:\n  import a\nexcept ImportError: raise SystemExit('no')\n",
        &["a"],
    );
    check(
        "try:\n  import a\nexcept ImportError:\n  if x:\n    exit(1)\n",
        &[],
    );
    check(
        "try:\n  import a\nexcept ImportError:\n  try:\n    import b\n  except ImportError:\n    exit(1)\n",
        &[],
    );
    check(
        "try:\n  try:\n    import a\n  except ImportError:\n    raise\n  import c\nexcept Exception:\n  pass\nimport b\n",
        &["b"],
    );
    check(
        "try:\n  import a\nexcept ImportError:\n  def f():\n    try:\n      x\n    except OSError:\n      raise\n",
        &[],
    );
    check(
        "try:\n  import c\n  try:\n    import a\n  except ImportError:\n    x\nexcept ImportError:\n  x\nimport b\n",
        &["b"],
    );
    check("try:\n  import a\nfinally:\n  pass\n", &["a"]);
    check("try: import a\nexcept ImportError: pass\nimport b", &["b"]);
    check(
        "class C:\n  try:\n    import a\n  except ImportError:\n    pass\nimport b",
        &["b"],
    );
}

#[test]
fn what_changes_the_search_path_is_told() {
    let facts = |text: &str| {
        let facts = read(text.as_bytes());
        (facts.dirs, facts.extends_path, facts.makes_modules)
    };
    let of = |dirs: &[&str], extends, makes| {
        let dirs = dirs.iter().map(|dir| (*dir).to_owned()).collect::<Vec<_>>();
        (dirs, extends, makes)
    };
    assert_eq!(
        facts("sys.path.insert(0, '/opt/lib')"),
        of(&["/opt/lib"], false, false)
    );
    assert_eq!(
        facts("if x:\n  sys.path += ['/a', '/b']"),
        of(&["/a", "/b"], false, false)
    );
    assert_eq!(facts("sys.path.append(here)"), of(&[], true, false));
    assert_eq!(facts("sys.path.append('lib')"), of(&[], true, false));
    assert_eq!(facts("print(sys.path)"), of(&[], false, false));
    assert_eq!(facts("sys.modules['a.b'] = b"), of(&[], false, true));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_text_of_the_grammar_makes_the_reader_panic(
        text in "((import|from|try|except|finally|else|class|def|if|with|sys.path|raise|a|b)|\n *|[ \t\n\\\\:;.,()'\"#=]|(try|except|except ImportError):\n {1,4}|import a\n {0,4}|\"\"\"){0,60}"
    ) {
        let facts = read(text.as_bytes());
        for import in facts.imports {
            prop_assert!(!import.module.is_empty() || import.level > 0);
        }
    }
}
