use super::*;
use crate::check::paths::testing::{self, assert_ids};

const LIB: &str = "usr/lib/x86_64-linux-gnu";

/// A small Debian with everything that its own configuration names.
fn debian() -> testing::Image {
    testing::Image::new()
        .link("bin", "usr/bin")
        .link("lib", "usr/lib")
        .program("usr/bin/bash")
        .program("usr/bin/sh")
        .program("usr/bin/true")
        .program("usr/bin/systemd-tmpfiles")
        .file(
            "etc/passwd",
            b"root:x:0:0::/root:/bin/bash\nwww:x:33:33::/:/usr/sbin/nologin\n",
        )
        .file("etc/group", b"root:x:0:\nwww:x:33:\nadm:x:4:\n")
}

fn check(image: testing::Image, expect: &[&str]) {
    assert_ids(&config(&image.tree, &image.view).unwrap(), expect);
}

#[test]
fn an_account_that_somebody_may_log_in_to_needs_its_shell() {
    let passwd = b"root:x:0:0::/root:/bin/bash\njoe:x:1:1::/home/joe:/usr/bin/fish\n\
        ann:x:2:2::/:/usr/bin/zsh\nsvc:x:3:3::/:/usr/sbin/nologin\nempty:x:4:4::/:\n+nis:::::/none:/none\nbroken\n";
    let image = debian()
        .file("etc/passwd", passwd)
        .program("usr/bin/zsh")
        .file("etc/adduser.conf", b"#DSHELL=/x\nDSHELL=\"/bin/none\"\n")
        .file("etc/default/useradd", b"SHELL=/bin/sh\n")
        .file(
            "usr/lib/sysusers.d/a.conf",
            b"u new - \"A new one\" /home/new /bin/none\nu off - - - /usr/sbin/nologin\n",
        );
    check(
        image,
        &[
            "account:/etc/adduser.conf:DSHELL",
            "!account:/etc/passwd:joe",
            "!account:/usr/lib/sysusers.d/a.conf:new",
        ],
    );
}

#[test]
fn services_of_pam_need_their_modules_and_files() {
    let service = b"@include common-auth\n@include gone\nauth required pam_deny.so\n\
        auth sufficient pam_gone.so\n-session optional pam_kwallet.so\nsession optional pam_more.so\n\
        account include vendor\naccount required /opt/none.so\n";
    let image = debian()
        .file(&format!("{LIB}/libpam.so.0"), b"")
        .file(&format!("{LIB}/security/pam_deny.so"), b"")
        .file("etc/pam.d/common-auth", b"auth required pam_deny.so\n")
        .file("usr/lib/pam.d/vendor", b"account required pam_none.so\n")
        .file("usr/lib/pam.d/over", b"auth required pam_none.so\n")
        .file("etc/pam.d/over", b"auth required pam_deny.so\n")
        .file("etc/pam.d/sshd", service)
        .file("etc/pam.d/sshd.dpkg-old", service);
    check(
        image,
        &[
            "!pam:/etc/pam.d/sshd:/opt/none.so",
            "!pam:/etc/pam.d/sshd:gone",
            "!pam:/etc/pam.d/sshd:pam_gone.so",
            "pam:/etc/pam.d/sshd:pam_more.so",
            "!pam:/usr/lib/pam.d/vendor:pam_none.so",
        ],
    );
    // Without libpam nobody reads them.
    check(debian().file("etc/pam.d/sshd", service), &[]);
}

#[test]
fn sources_of_names_need_their_modules() {
    let text = b"passwd: files systemd sss\ngroup: ldap\nhosts: files mdns4 [NOTFOUND=return] \
        resolve [!SUCCESS=return] dns\nnetgroup: nis\nshadow: files # ldap\n";
    let image = debian()
        .file("etc/nsswitch.conf", text)
        .file(&format!("{LIB}/libnss_sss.so.2"), b"");
    check(
        image,
        &[
            "!nss:/etc/nsswitch.conf:group:ldap",
            "nss:/etc/nsswitch.conf:hosts:mdns4",
            "!nss:/etc/nsswitch.conf:hosts:resolve",
            "nss:/etc/nsswitch.conf:passwd:systemd",
        ],
    );
    let passwd = debian().file("etc/nsswitch.conf", b"passwd: files sss\n");
    check(passwd, &["!nss:/etc/nsswitch.conf:passwd:sss"]);
}

#[test]
fn tables_of_cron_need_their_commands_and_users() {
    let table = b"CRON_TZ=Asia/None\n* * * * * root true\n@daily ghost /opt/gone x\n\
        5 4 * * * www test -x /none && /none ; bash /opt/gone.sh\n7 * * * * root env jq .\n";
    let image = debian()
        .program("usr/bin/env")
        .program("usr/bin/python3")
        .file("etc/cron.d/mine", table)
        .file("etc/cron.d/not.read", table)
        .file("etc/crontab", b"1 * * * * root python3 /opt/gone.py\n")
        .file("etc/anacrontab", b"1 5 job /opt/gone\n");
    let found = [
        "cron:/etc/anacrontab:/opt/gone",
        "cron:/etc/cron.d/mine:/opt/gone",
        "cron:/etc/cron.d/mine:/opt/gone.sh",
        "cron:/etc/cron.d/mine:jq",
        "cron:/etc/cron.d/mine:user:ghost",
        "cron:/etc/crontab:/opt/gone.py",
    ];
    let zone = "zone:/etc/cron.d/mine:Asia/None";
    let mut minor = found.to_vec();
    minor.push(zone);
    check(image.clone(), &minor);
    let grave: Vec<String> = found.iter().map(|id| format!("!{id}")).collect();
    let mut grave: Vec<&str> = grave.iter().map(String::as_str).collect();
    grave.push(zone);
    let image = image.program("usr/sbin/cron").program("usr/sbin/anacron");
    check(image, &grave);
}

#[test]
fn rules_of_sudo_need_what_they_name() {
    let image = debian()
        .program("usr/bin/sudo")
        .file(
            "etc/sudoers",
            b"root ALL=(ALL) ALL\n@include local\n@includedir /etc/sudoers.d\n",
        )
        .file(
            "etc/sudoers.d/web",
            b"ghost, %ghosts ALL=(www:adm) NOPASSWD: /bin/true, /opt/gone\n@include more\n",
        )
        .file("etc/sudoers.d/more", b"#include /etc/none\n")
        .file("etc/sudoers.d/not.read", b"ghost ALL=ALL\n");
    check(
        image,
        &[
            "!sudo:/etc/sudoers.d/more:/etc/none",
            "sudo:/etc/sudoers.d/web:/opt/gone",
            "sudo:/etc/sudoers.d/web:group:ghosts",
            "sudo:/etc/sudoers.d/web:user:ghost",
            "!sudo:/etc/sudoers:/etc/local",
        ],
    );
}

#[test]
fn nginx_needs_what_its_configuration_names() {
    let image = debian()
        .program("usr/sbin/nginx")
        .link("usr/share/nginx/modules", "/usr/lib/nginx/modules")
        .file("usr/lib/nginx/modules/a.so", b"")
        .file(
            "etc/nginx/nginx.conf",
            b"user www;\nload_module modules/a.so;\nload_module modules/b.so;\n\
              include none/*.conf;\nhttp { include gone.conf; include sites/*; include tables; }\n",
        )
        .file(
            "etc/nginx/available",
            b"include /opt/x.conf;\nuser ghost ghosts;\n",
        )
        .link("etc/nginx/sites/mine", "../available")
        .file("etc/nginx/tables/types", b"");
    check(
        image,
        &[
            "!include:/etc/nginx/available:/opt/x.conf",
            "!include:/etc/nginx/available:group:ghosts",
            "!include:/etc/nginx/available:user:ghost",
            "!include:/etc/nginx/nginx.conf:/etc/nginx/gone.conf",
            "!include:/etc/nginx/nginx.conf:/etc/nginx/tables",
            "!include:/etc/nginx/nginx.conf:/usr/share/nginx/modules/b.so",
        ],
    );
}

#[test]
fn apache_needs_what_its_configuration_names() {
    let image = debian()
        .program("usr/sbin/apache2")
        .file("usr/lib/apache2/modules/mod_a.so", b"")
        .file("etc/apache2/envvars", b"export RUN=ghost\n")
        .file(
            "etc/apache2/apache2.conf",
            b"User ${RUN}\nGroup ${OTHER}\nIncludeOptional mods/*.load\nIncludeOptional none\n\
              Include none/*.conf\nInclude sites\n",
        )
        .file(
            "etc/apache2/mods/a.load",
            b"LoadModule a_module /usr/lib/apache2/modules/mod_a.so\n\
              LoadModule b_module /usr/lib/apache2/modules/mod_b.so\n",
        )
        .file(
            "etc/apache2/sites/x",
            b"<IfModule mod_a.c>\nInclude gone-a\n</IfModule>\n<IfModule !mod_a.c>\nInclude gone-b\n\
              </IfModule>\n<IfDefine X>\nInclude gone-c\n</IfDefine>\n",
        );
    check(
        image,
        &[
            "!include:/etc/apache2/apache2.conf:/etc/apache2/none/*.conf",
            "!include:/etc/apache2/apache2.conf:user:ghost",
            "!include:/etc/apache2/mods/a.load:/usr/lib/apache2/modules/mod_b.so",
            "!include:/etc/apache2/sites/x:/etc/apache2/gone-a",
            "include:/etc/apache2/sites/x:/etc/apache2/gone-c",
        ],
    );
}

#[test]
fn files_of_apache_that_include_each_other_in_many_ways_end() {
    let mut image = debian().program("usr/sbin/apache2");
    for n in 0..40 {
        let text = format!(
            "Include {0}.conf\nInclude {0}.conf\nInclude {n}.conf\n",
            n + 1
        );
        image = image.file(&format!("etc/apache2/{n}.conf"), text.as_bytes());
    }
    let image = image
        .file("etc/apache2/40.conf", b"")
        .file("etc/apache2/apache2.conf", b"Include 0.conf\n");
    check(image, &[]);
}

#[test]
fn sshd_needs_what_its_configuration_names() {
    let image = debian()
        .program("usr/sbin/sshd")
        .file(
            "etc/ssh/sshd_config",
            b"Include /etc/ssh/sshd_config.d/*.conf\nInclude more.conf none/*\n\
              Subsystem sftp internal-sftp\nSubsystem other /usr/lib/gone -x\n",
        )
        .file(
            "etc/ssh/sshd_config.d/a.conf",
            b"AuthorizedKeysCommand /opt/keys %u\nAuthorizedKeysCommandUser ghost\nRevokedKeys /etc/ssh/revoked\n",
        );
    check(
        image,
        &[
            "!include:/etc/ssh/sshd_config.d/a.conf:/etc/ssh/revoked",
            "!include:/etc/ssh/sshd_config.d/a.conf:/opt/keys",
            "!include:/etc/ssh/sshd_config.d/a.conf:user:ghost",
            "include:/etc/ssh/sshd_config:/etc/ssh/more.conf",
            "!include:/etc/ssh/sshd_config:/usr/lib/gone",
        ],
    );
}

#[test]
fn php_needs_the_modules_that_are_switched_on_and_pools() {
    let php = |version: &str| {
        debian()
            .program(&format!("usr/sbin/php-fpm{version}"))
            .file("usr/lib/php/20240924/curl.so", b"")
            .file("usr/share/zoneinfo/Europe/Berlin", b"")
            .file(
                "etc/php/8.4/mods-available/a.ini",
                b"extension=curl\nextension=gone.so\n",
            )
            .link(
                "etc/php/8.4/cli/conf.d/20-a.ini",
                "../../mods-available/a.ini",
            )
            .file(
                "etc/php/8.4/cli/php.ini",
                b";extension=none\ndate.timezone = US/Pacific\ndate.timezone = Europe/Berlin\n",
            )
            .file(
                "etc/php/8.4/fpm/php-fpm.conf",
                b"include=/etc/php/8.4/fpm/pool.d/*.conf\n",
            )
    };
    let common = [
        "!include:/etc/php/8.4/mods-available/a.ini:gone.so",
        "zone:/etc/php/8.4/cli/php.ini:US/Pacific",
    ];
    let none = "!include:/etc/php/8.4/fpm/php-fpm.conf:/etc/php/8.4/fpm/pool.d/*.conf";
    check(php("8.4"), &[none, common[0], common[1]]);
    check(php("8.2"), &common);
    let pool = php("8.4").file(
        "etc/php/8.4/fpm/pool.d/shop.conf",
        b"[shop]\nuser = ghost\ngroup = www\nlisten.group = ghosts ; x\n",
    );
    let owners = [
        "!include:/etc/php/8.4/fpm/pool.d/shop.conf:group:ghosts",
        "!include:/etc/php/8.4/fpm/pool.d/shop.conf:user:ghost",
    ];
    check(pool, &[owners[0], owners[1], common[0], common[1]]);
}

#[test]
fn rules_of_udev_need_their_programs_and_accounts() {
    let image = debian()
        .program("usr/bin/udevadm")
        .program("usr/lib/udev/helper")
        .file(
            "usr/lib/udev/rules.d/50-a.rules",
            b"# RUN+=\"/none\"\nKERNEL==\"a\", RUN+=\"/opt/gone %k\", GROUP=\"ghosts\", \\\n  OWNER=\"root\"\n\
              PROGRAM==\"helper x\", IMPORT{program}=\"gone-helper\"\nRUN{builtin}+=\"kmod\"\n\
              TEST==\"/opt/absent\", RUN+=\"/opt/absent\"\nRUN+=\"/bin/sh -c 'jq $env{X}'\"\nRUN+=\"/bin/$name\"\n",
        )
        .file("usr/lib/udev/rules.d/60-b.rules", b"RUN+=\"/opt/gone\"\n")
        .file("etc/udev/rules.d/60-b.rules", b"");
    check(
        image,
        &[
            "!udev:/usr/lib/udev/rules.d/50-a.rules:/opt/gone",
            "udev:/usr/lib/udev/rules.d/50-a.rules:/usr/lib/udev/gone-helper",
            "udev:/usr/lib/udev/rules.d/50-a.rules:group:ghosts",
            "!udev:/usr/lib/udev/rules.d/50-a.rules:jq",
        ],
    );
}

#[test]
fn rotation_of_logs_needs_its_accounts() {
    let image = debian().program("usr/sbin/logrotate").file(
        "etc/logrotate.d/a",
        b"/var/log/a {\n su ghost adm\n create 640 www ghosts\n postrotate\n su none\n endscript\n}\n",
    );
    check(
        image,
        &[
            "!logrotate:/etc/logrotate.d/a:group:ghosts",
            "!logrotate:/etc/logrotate.d/a:su",
            "!logrotate:/etc/logrotate.d/a:user:ghost",
        ],
    );
}

#[test]
fn lines_of_tmpfiles_and_sysusers_need_their_accounts() {
    let image = debian()
        .file(
            "usr/lib/tmpfiles.d/a.conf",
            b"# d /x - none\nd /run/a 0755 ghost www -\nd /run/b 0755 made :ghosts\nL /x - - - - /y\nd /run/%u - %u 5\n",
        )
        .file("usr/lib/tmpfiles.d/b.conf", b"d /run/b - ghost\n")
        .link("etc/tmpfiles.d/b.conf", "/dev/null")
        .file("usr/lib/sysusers.d/a.conf", b"u made -:www\nu more 900:absent\n");
    check(
        image,
        &[
            "!tmpfiles:/usr/lib/sysusers.d/a.conf:group:absent",
            "!tmpfiles:/usr/lib/tmpfiles.d/a.conf:group:ghosts",
            "!tmpfiles:/usr/lib/tmpfiles.d/a.conf:user:ghost",
        ],
    );
}

#[test]
fn a_group_of_alternatives_needs_its_link() {
    let dir = "usr/lib/sysimage/var/lib/dpkg/alternatives";
    let image = debian()
        .program("usr/bin/mawk")
        .file(
            &format!("{dir}/awk"),
            b"manual\n/usr/bin/awk\n\n/usr/bin/mawk\n5\n\n",
        )
        .file(
            &format!("{dir}/vi"),
            b"auto\n/usr/bin/vi\n\n/usr/bin/gone\n5\n\n",
        );
    let whole = image
        .clone()
        .link("usr/bin/awk", "/etc/alternatives/awk")
        .link("etc/alternatives/awk", "/usr/bin/mawk");
    check(whole, &[]);
    check(
        image,
        &[
            "!alternative:/usr/lib/sysimage/var/lib/dpkg/alternatives/awk:/etc/alternatives/awk",
            "!alternative:/usr/lib/sysimage/var/lib/dpkg/alternatives/awk:/usr/bin/awk",
        ],
    );
}

#[test]
fn the_time_zone_has_to_be_there() {
    let image = |zone: &str| {
        debian()
            .file("usr/share/zoneinfo/Europe/Berlin", b"")
            .file("etc/timezone", zone.as_bytes())
    };
    check(image("Europe/Berlin\n"), &[]);
    check(image("Etc/UTC0 x\n"), &[]);
    check(image("US/Pacific\n"), &["zone:/etc/timezone:US/Pacific"]);
}

#[test]
fn modules_of_rsyslog_have_to_be_there() {
    let conf = b"module(load=\"imuxsock\")\n$ModLoad imfile\nmodule(load=\"builtin:omfile\")\n";
    let image = debian()
        .program("usr/sbin/rsyslogd")
        .file("usr/lib/x86_64-linux-gnu/rsyslog/imuxsock.so", b"")
        .file("etc/rsyslog.d/a.conf", conf);
    check(image, &["!include:/etc/rsyslog.d/a.conf:imfile"]);
    let elsewhere = debian()
        .program("usr/sbin/rsyslogd")
        .file("etc/rsyslog.d/a.conf", b"$ModDir /opt\n$ModLoad imfile\n");
    check(elsewhere, &[]);
}

#[test]
fn hooks_of_apt_have_to_be_there() {
    let hooks = b"DPkg::Post-Invoke { \"/opt/gone\"; \"test -x /opt/a && /opt/a || true\"; };\n\
        DPkg::Pre-Install-Pkgs { \"/usr/sbin/configure --apt || true\"; };\n";
    let image = debian()
        .program("usr/bin/apt-get")
        .file("etc/apt/apt.conf.d/70hook", hooks);
    check(image, &["!include:/etc/apt/apt.conf.d/70hook:/opt/gone"]);
}
