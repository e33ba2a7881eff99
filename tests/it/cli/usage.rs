//! Help, wrong usage, completions and manual pages.

use super::fixture::empty;
use crate::session::transcripts;

#[test]
fn help_names_every_command_and_says_how_to_start() {
    let at = empty();
    insta::assert_snapshot!(at.session.run("-h").transcript(), @r"
    $ layerset -h
    Builds operating-system images in content-addressed layers, and updates machines with them
    atomically

    Usage: layerset [OPTIONS] <COMMAND>

    Commands:
      init         Make a repository
      new          Write a layer or a recipe to start from
      lock         Resolve the packages of a recipe to exact files, and write its lock
      build        Build what changed of a recipe's layers, and compose its image
      check        Check whether a set of layers is sound
      compose      Compose the layers of a recipe as they are built, and say what the checks find
      list         List the images and layers of the repository
      show         Show an image, a layer, a tree or an object
      diff         Compare two images, or two generations of a target
      why          Say which layer and package something comes from, and since when
      publish      Publish an image or a layer to channels of a remote
      pull         Bring what a channel of a remote points at into the repository
      export       Write images for use elsewhere: disks that boot, and bundles for machines offline
      deploy       Put an image on a target and switch to it
      update       Update a target from its channel, or with one layer rebuilt
      rollback     Switch a target back to an earlier deployment
      status       Show the deployments of a target
      history      Show every change of a target
      pin          Keep a deployment, whatever the policy says, or stop keeping it
      mark-bad     Mark the image of a deployment as bad, so that nothing chooses it by itself
      mark-good    Take the mark of a bad image back
      activate     Mount the deployments of a target again, e.g. after a reboot of the host
      deactivate   Unmount the deployments of a target
      run          Run a command in the current deployment of a target
      health       Run the health checks of what is current on a target
      agent        Follow the channel of a target: one round, for a timer
      adopt-host   Make an ordinary Debian the host of a target
      settle-boot  Say whether this start of the machine was good; a unit of the machine does it
      forget       Release what a target or a recipe that is gone still holds
      gc           Remove what no image and no deployment needs
      fsck         Verify every byte of the repository, and repair it
      serve        Serve the directory of a remote over HTTP, for labs
      trust        Manage who may publish what on a remote
      schema       Print what a file may say, as JSON Schema
      completions  Print shell completions
      man          Write the manual pages
      help         Print this message or the help of the given subcommand(s)

    Options:
          --repo <DIR>              The repository [default: the machine's own on a machine made of
                                    layers, else /var/lib/layerset for root, $XDG_DATA_HOME/layerset for
                                    others] [env: LAYERSET_REPO=REPO]
          --json                    Print one JSON document on standard output instead of text
      -q, --quiet                   Print nothing but errors; with --json, the document
          --lock-timeout <SECONDS>  How long to wait for another layerset command, in seconds [default:
                                    600]
      -h, --help                    Print help
      -V, --version                 Print version

    A first image:
      layerset init
      layerset lock recipes/web.toml
      layerset build recipes/web.toml
      layerset deploy web --target /srv/web

    Exit status: 0 done (or nothing to do), 1 failed, 2 wrong usage, 3 a check refused, 4 damaged data,
    5 nothing new (update --check), 70 a bug, 130 interrupted.
    [status 0]
    ");
}

#[test]
fn help_of_a_command_shows_examples() {
    let at = empty();
    let ran = ["deploy -h", "gc -h"];
    insta::assert_snapshot!(transcripts(&ran.map(|line| at.session.run(line))), @r#"
    $ layerset deploy -h
    Put an image on a target and switch to it

    Usage: layerset deploy [OPTIONS] --target <DIR> [IMAGE]

    Arguments:
      [IMAGE]  The image: a recipe's name, a ref, an id or an abbreviation of one

    Options:
          --repo <DIR>              The repository [default: the machine's own on a machine made of
                                    layers, else /var/lib/layerset for root, $XDG_DATA_HOME/layerset for
                                    others] [env: LAYERSET_REPO=REPO]
          --target <DIR>            The target: any directory; it is made when absent [env:
                                    LAYERSET_TARGET=]
          --json                    Print one JSON document on standard output instead of text
          --keep-file <PATH>        In a conflict, keep this file of /etc as it is on the machine; or
                                    keep this path of /var without being told of it; may be given more
                                    than once
      -q, --quiet                   Print nothing but errors; with --json, the document
          --take-file <PATH>        In a conflict, take this file of /etc from the image; or take this
                                    path of /var from it, with all below; may be given more than once
          --copy                    Copy the files instead of mounting them from the repository
          --lock-timeout <SECONDS>  How long to wait for another layerset command, in seconds [default:
                                    600]
          --dry-run                 Show packages, services to restart, and what becomes of /etc and
                                    /var, and change nothing
          --stage-only              Prepare the deployment, but do not switch to it
          --again                   Take the channel's release even if a rollback left it on this target
          --keep <COUNT>            How many deployments to keep, pinned ones aside [default: what the
                                    recipe's policy says]
          --restart                 Restart the services that run something else after the switch: those
                                    of units that `layerset run --print-unit` wrote. Then run the health
                                    checks, and switch back where they fail
          --when <WHEN>             When a machine switches: now, with a restart if it takes one; by its
                                    next start (next-boot); or at a time of the day (HH:MM) [default:
                                    now if that takes no restart, else by its next start]
          --no-reboot               Restart nothing but services: what takes more waits for the next
                                    start
          --reason <TEXT>           Why, for the history [default: ""]
          --config <FILE>           What the agent does on this machine, see layerset-agent.toml(5)
                                    [env: LAYERSET_AGENT_CONFIG=] [default: /etc/layerset/agent.toml]
          --channel <CHANNEL>       Pull what this channel has for this machine, and follow the channel:
                                    NAME/CHANNEL
          --remote <NAME>           The remote, by its name in the trust policy [default: the first that
                                    may have the channel]
          --from <LOCATION>         Look here instead of where the policy says: a mirror, or the
                                    directory of a bundle
          --trust <FILE>            Whom to trust [default: /etc/layerset/trust.toml for root,
                                    $XDG_CONFIG_HOME/layerset/trust.toml for others] [env:
                                    LAYERSET_TRUST=]
          --ahead                   Take a release that is being rolled out before it is this machine's
                                    turn
          --no-deltas               Fetch what changed in full, without deltas
          --least-bytes             Recompress files even where fetching them is quicker: for metered
                                    connections
      -h, --help                    Print help
      -V, --version                 Print version

    Examples:
      layerset deploy web --target /srv/web
      layerset deploy web --target /srv/web --dry-run     # what it would do to /etc
      layerset deploy b3:1f2e --target /srv/web --keep-file /etc/nginx/nginx.conf
      layerset deploy --channel web/stable --target /srv/web   # and follow it

    The switch is one rename of /srv/web/layerset/current. Edits in /etc are merged, and conflicts
    are reported before anything is switched. The earlier deployment stays: `layerset rollback`
    goes back to it.
    [status 0]

    $ layerset gc -h
    Remove what no image and no deployment needs

    Usage: layerset gc [OPTIONS]

    Options:
          --dry-run                 Print what would be removed, and remove nothing
          --repo <DIR>              The repository [default: the machine's own on a machine made of
                                    layers, else /var/lib/layerset for root, $XDG_DATA_HOME/layerset for
                                    others] [env: LAYERSET_REPO=REPO]
          --cache                   Also remove from caches what was not used lately
          --json                    Print one JSON document on standard output instead of text
          --older-than <DAYS>       What is not lately, in days [default: 30]
      -q, --quiet                   Print nothing but errors; with --json, the document
          --lock-timeout <SECONDS>  How long to wait for another layerset command, in seconds [default:
                                    600]
      -h, --help                    Print help
      -V, --version                 Print version

    Examples:
      layerset gc --dry-run
      layerset gc
      layerset gc --cache                    # also what caches hold and nobody used for 30 days
      layerset gc --cache --older-than 7

    It waits until no other layerset command uses the repository. --dry-run waits for nobody, and works
    on a read-only repository: what other commands are making then counts as not needed.

    Caches hold packages, lists of archives, prepared packs and parts of disks. All of it can be made or
    fetched again, but for packages that have left their archive.
    [status 0]
    "#);
}

#[test]
fn wrong_usage_is_told_with_status_2_and_what_was_meant() {
    let at = empty();
    let ran = [
        "",
        "biuld recipes/web.toml",
        "build",
        "gc --dryrun",
        "deploy web --target t --dry-run --stage-only",
    ];
    insta::assert_snapshot!(transcripts(&ran.map(|line| at.session.run(line))), @r"
    $ layerset
    ! error: 'layerset' requires a subcommand but one was not provided
    !   [subcommands: init, new, lock, build, check, compose, list, show, diff, why, publish, pull, export, deploy, update, rollback, status, history, pin, mark-bad, mark-good, activate, deactivate, run, health, agent, adopt-host, settle-boot, forget, gc, fsck, serve, trust, schema, completions, man, help]
    !
    ! Usage: layerset [OPTIONS] <COMMAND>
    !
    ! For more information, try '--help'.
    [status 2]

    $ layerset biuld recipes/web.toml
    ! error: unrecognized subcommand 'biuld'
    !
    !   tip: a similar subcommand exists: 'build'
    !
    ! Usage: layerset [OPTIONS] <COMMAND>
    !
    ! For more information, try '--help'.
    [status 2]

    $ layerset build
    ! error: the following required arguments were not provided:
    !   <RECIPE>
    !
    ! Usage: layerset build --repo <DIR> <RECIPE>
    !
    ! For more information, try '--help'.
    [status 2]

    $ layerset gc --dryrun
    ! error: unexpected argument '--dryrun' found
    !
    !   tip: a similar argument exists: '--dry-run'
    !
    ! Usage: layerset gc --dry-run
    !
    ! For more information, try '--help'.
    [status 2]

    $ layerset deploy web --target t --dry-run --stage-only
    ! error: the argument '--dry-run' cannot be used with '--stage-only'
    !
    ! Usage: layerset deploy --target <DIR> --dry-run --repo <DIR> <IMAGE>
    !
    ! For more information, try '--help'.
    [status 2]
    ");
}

#[test]
fn completions_name_the_commands_in_every_shell() {
    let at = empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = at.session.run(&format!("completions {shell}")).expect(0);
        for command in ["rollback", "fsck", "--lock-timeout"] {
            let word = command.trim_start_matches('-');
            assert!(ran.stdout.contains(word), "{shell} lacks {command}");
        }
    }
    at.session.run("completions tcsh").expect(2);
}

#[test]
fn quiet_says_no_more_than_results_and_errors() {
    let at = empty();
    insta::assert_snapshot!(transcripts(&["--quiet man m", "--quiet list"].map(|line| at.session.run(line))), @r"
    $ layerset --quiet man m
    [status 0]

    $ layerset --quiet list
    ! error: no repository at 'REPO'
    ! hint: run `layerset init --repo REPO`, or name another one with --repo
    [status 1]
    ");
}
