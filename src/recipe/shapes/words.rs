//! The forms of words in `super::super::words`, as regular expressions. A test holds that each says
//! the same as the check that readers use, as far as it can.

use crate::shape::Word;

const fn word(name: &'static str, pattern: &'static str) -> Word {
    Word { name, pattern }
}

pub(in crate::recipe) const LAYER_NAME: Word = word("a name", "^[a-z0-9][a-z0-9+._-]{0,63}$");

pub(in crate::recipe) const PACKAGE: Word = word(
    "a package",
    "^[a-z0-9][a-z0-9+.-]+(?::[A-Za-z0-9][A-Za-z0-9-]*)?(?:=[A-Za-z0-9][A-Za-z0-9.+~:-]*\
     |/[A-Za-z0-9](?!.*//)(?!.*/\\.{1,2}(?:/|$))(?!.*/$)[A-Za-z0-9./_-]*)?$",
);

pub(in crate::recipe) const SUITE: Word = word(
    "a suite or component",
    "^[A-Za-z0-9](?!.*//)(?!.*/\\.{1,2}(?:/|$))(?!.*/$)[A-Za-z0-9./_-]*$",
);

pub(in crate::recipe) const ARCHIVE_URI: Word = word(
    "the address of an archive",
    "^(?:https?://(?:\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._~-]+)(?::[0-9]{1,5})?\
     (?:/[A-Za-z0-9._~:/@!$&'()*+,;=%-]*)?|file:/[A-Za-z0-9._~:/@!$&'()*+,;=%-]*)$",
);

pub(in crate::recipe) const SOURCE_SUITE: Word = word(
    "a suite, or the path of a flat archive",
    "^(?!-)(?!(?:.*/)?\\.\\.(?:/|$))[A-Za-z0-9+.~/_$()-]+$",
);

pub(in crate::recipe) const ARCHITECTURE: Word =
    word("an architecture", "^[A-Za-z0-9][A-Za-z0-9-]*$");

pub(in crate::recipe) const KEY_BLOCK: Word = word(
    "an armoured public key",
    "^\\s*-----BEGIN PGP PUBLIC KEY BLOCK-----\\s[\\s\\S]*-----END PGP PUBLIC KEY BLOCK-----",
);

pub(in crate::recipe) const UNIT: Word = word(
    "a unit with its type",
    "^(?=.{1,255}$)[A-Za-z0-9:_.\\\\@][A-Za-z0-9:_.\\\\@-]*\
     \\.(?:service|socket|timer|target|mount|path|slice|swap|automount|scope)$",
);

pub(in crate::recipe) const VARIABLE: Word =
    word("the name of a variable", "^[A-Za-z_][A-Za-z0-9_]*$");

pub(in crate::recipe) const LINE: Word = word(
    "one line",
    "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$",
);

pub(in crate::recipe) const COMMAND: Word =
    word("a shell command", "^[^\\x00]*[^\\s\\x00][^\\x00]*$");

pub(in crate::recipe) const HTTP_URL: Word = word(
    "an address that starts with http://",
    "^http://[^/\\x00-\\x20\\x7f-\\x9f][^\\x00-\\x20\\x7f-\\x9f]*$",
);

pub(in crate::recipe) const ENDPOINT: Word = word(
    "a place that takes connections",
    "^(?:\\[[0-9A-Fa-f:.]{2,45}\\]|[A-Za-z0-9][A-Za-z0-9._-]*):(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}\
     |6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$",
);

pub(crate) const REACHABLE: Word = word(
    "another machine",
    "^(?:gateway|(?:\\[[0-9A-Fa-f:.]{2,45}\\]|[A-Za-z0-9][A-Za-z0-9._-]*):(?:[1-9][0-9]{0,3}\
     |[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))$",
);

pub(crate) const ABSOLUTE_PATH: Word =
    word("a path that starts with /", "^/[^\\x00-\\x1f\\x7f-\\x9f]+$");

pub(in crate::recipe) const MODE: Word = word("octal digits", "^[0-7]{3,4}$");

pub(in crate::recipe) const OWNER: Word = word(
    "user:group",
    "^(?:#(?:0|[1-9][0-9]{0,9})|[^:\\n\\x00 \\t/#]{1,255}):\
     (?:#(?:0|[1-9][0-9]{0,9})|[^:\\n\\x00 \\t/#]{1,255})$",
);

pub(crate) const DURATION: Word = word("a duration", "^0*[1-9][0-9]*(?:ms|s|min|m|h)$");

pub(in crate::recipe) const IMAGE_PATH: Word = word(
    "a path in the image",
    "^/?(?!\\.{1,2}(?:/|$))[^/\\x00]+(?:/(?!\\.{1,2}(?:/|$))[^/\\x00]+)*$",
);

pub(in crate::recipe) const BESIDE: Word = word(
    "a path in the layer's folder",
    "^(?!\\.{1,2}(?:/|$))[^/\\x00]+(?:/(?!\\.{1,2}(?:/|$))[^/\\x00]+)*$",
);

pub(in crate::recipe) const PATTERN: Word = word(
    "a pattern",
    "^/?(?:\\*\\*(?=/|$)|(?!\\.{1,2}(?:/|$))(?![^/]*\\*\\*)[^/\\x00?\\[\\]{}\\\\]+)\
     (?:/(?:\\*\\*(?=/|$)|(?!\\.{1,2}(?:/|$))(?![^/]*\\*\\*)[^/\\x00?\\[\\]{}\\\\]+))*$",
);

pub(in crate::recipe) const SECRET_PATTERN: Word = word(
    "a pattern of paths",
    "^/*(?:\\*\\*(?=/|$)|(?!\\.{1,2}(?:/|$))(?![^/]*\\*\\*)[^/\\x00?\\[\\]{}\\\\]+)\
     (?:/(?:\\*\\*(?=/|$)|(?!\\.{1,2}(?:/|$))(?![^/]*\\*\\*)[^/\\x00?\\[\\]{}\\\\]+))*$",
);

pub(in crate::recipe) const STATE_PATTERN: Word = word(
    "a pattern below var/",
    "^/?var(?:/(?:\\*\\*(?=/|$)|(?!\\.{1,2}(?:/|$))(?![^/]*\\*\\*)[^/\\x00?\\[\\]{}\\\\]+))+$",
);

pub(in crate::recipe) const FINDING: Word = word("the id of a finding", "^[^* \\t\\n]+$");

pub(in crate::recipe) const SIZE: Word = word(
    "a size",
    "^\\s*[0-9]+(?:\\.[0-9]+)?\\s*(?:[TGMK]iB|[TGMK]B?|B)?\\s*$",
);

pub(in crate::recipe) const SHARE: Word =
    word("a percentage", "^\\s*[0-9]+(?:\\.[0-9]+)?\\s*%\\s*$");

pub(in crate::recipe) const EXTENTS: Word = word(
    "extents",
    "^(?:\\+?0*[1-9][0-9]*|\\s*[0-9]+(?:\\.[0-9]+)?\\s*%(?:VG|FREE))$",
);

pub(in crate::recipe) const CONSOLE: Word =
    word("a console", "^[A-Za-z][A-Za-z0-9]*(?:,[A-Za-z0-9]+)?$");

pub(in crate::recipe) const KERNEL_ARGUMENT: Word = word(
    "an argument of the kernel",
    "^(?!(?:root|console)(?:=|$))[^'\\\\\\x00-\\x1f\\x7f-\\x9f]*\
     [^\\s'\\\\\\x00-\\x1f\\x7f-\\x9f][^'\\\\\\x00-\\x1f\\x7f-\\x9f]*$",
);

pub(in crate::recipe) const DEVICE: Word = word("a name", "^(?!-)[A-Za-z0-9+._-]{1,64}$");

pub(in crate::recipe) const MOUNT: Word = word("an absolute path", "^/");

pub(in crate::recipe) const MOUNT_OPTIONS: Word = word("options with commas between", "^\\S+$");

pub(in crate::recipe) const LABEL: Word = word("a label", "^[\\s\\S]");

pub(in crate::recipe) const FILESYSTEM_LABEL: Word = word("a label", "\\S");

pub(in crate::recipe) const PARTITION_CODE: Word = word(
    "a code or GUID",
    "^(?:(?:0x)*(?:0X)*(?:[0-9A-Fa-f]{1,2}|[0-9A-Fa-f]{4})\
     |[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$",
);

pub(in crate::recipe) const FILESYSTEM_ID: Word = word(
    "an identifier",
    "^(?:[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$",
);
