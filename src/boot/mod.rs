//! What boots an image: the kernel that is chosen, the boot script and its cpio, boot entries and
//! menus as text.
//!
//! Everything here is pure: values in, bytes out.
