//! A machine that is updated beneath its running services, and by starting only those anew.

use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Workshop;
use super::machine::{Firmware, Hardware, Machine};
use super::update::{Fleet, PAGE, SERVER, expect_page, expect_settled};

/// A client that holds one connection to nginx, and asks for the page again and again.
struct Client {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What a client saw.
#[derive(Debug, Default)]
struct Seen {
    answers: u32,
    /// Answers other than the page: the server behind nginx was restarting.
    others: u32,
    /// The longest time between two pages.
    gap: Duration,
    /// Why the connection ended, if it did.
    lost: Option<String>,
}

impl Client {
    fn connect(port: u16) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ends);
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut writer = stream;
            let mut last = None;
            while !end.load(Ordering::Relaxed) {
                let asked = writer.write_all(b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n");
                let page = asked.and_then(|()| answer(&mut reader));
                let now = Instant::now();
                match page {
                    Ok(page) if page.contains("<h1>") => {
                        seen.answers += 1;
                        let gap = last.map_or(Duration::ZERO, |last| now - last);
                        seen.gap = seen.gap.max(gap);
                        last = Some(now);
                    }
                    Ok(_) => seen.others += 1,
                    Err(error) => {
                        seen.lost = Some(error.to_string());
                        break;
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            seen
        });
        Self { ends, thread }
    }

    /// Ends, and says what it saw: the same connection all the time.
    #[track_caller]
    fn finish(self, what: &str) -> Seen {
        self.ends.store(true, Ordering::Relaxed);
        let seen = self.thread.join().unwrap();
        eprintln!(
            "{what}: longest gap of the page {:.2} s, {seen:?}",
            seen.gap.as_secs_f64()
        );
        assert_eq!(seen.lost, None, "{what}");
        assert!(seen.answers > 5, "{what}: {seen:?}");
        seen
    }
}

/// Reads one answer of HTTP/1.1.
fn answer(reader: &mut impl std::io::BufRead) -> std::io::Result<String> {
    let mut size = None;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let (key, value) = line.split_once(':').unwrap_or((line.trim(), ""));
        match key.to_ascii_lowercase().as_str() {
            "" => break,
            "content-length" => size = value.trim().parse().ok(),
            _ => {}
        }
    }
    let mut take = |count: usize| {
        let mut bytes = vec![0; count];
        reader.read_exact(&mut bytes).map(|()| bytes)
    };
    if let Some(size) = size {
        return Ok(String::from_utf8_lossy(&take(size)?).into_owned());
    }
    // In chunks, each behind its size.
    let mut body = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let count = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        let mut bytes = vec![0; count + 2];
        reader.read_exact(&mut bytes)?;
        body.extend_from_slice(&bytes[..count]);
        if count == 0 {
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
    }
}

/// Fetches the page over new connections until it is there and says something.
fn outage(port: u16, text: &str) -> Duration {
    let fetch = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.0\r\nHost: guest\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    };
    let end = Instant::now() + super::machine::BOOT;
    let mut last = Instant::now();
    let mut longest = Duration::ZERO;
    loop {
        let page = fetch().unwrap_or_default();
        if page.contains("<h1>") {
            longest = longest.max(last.elapsed());
            last = Instant::now();
            if page.contains(text) {
                return longest;
            }
        }
        assert!(Instant::now() < end, "{page}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A program of the layer that the test changes, so that it is seen who runs it still.
const WAITER: &str = "layers/hello/files/usr/lib/hello/waiter";

/// Puts a program into the layer; `version` makes it another one.
fn put_waiter(fleet: &Fleet, version: &str) {
    let mut program = fs::read("/bin/sleep").unwrap();
    program.extend_from_slice(version.as_bytes());
    fs::write(fleet.path(WAITER), program).unwrap();
    let path = fleet.path("layers/hello/layer.toml");
    let text = fs::read_to_string(&path).unwrap();
    if !text.contains("waiter") {
        let hello = "\"usr/lib/hello/hello\" = \"0755\"";
        let both = format!("{hello}, \"usr/lib/hello/waiter\" = \"0755\"");
        fs::write(path, text.replace(hello, &both)).unwrap();
    }
}

/// Services that nobody touches: their processes, and whether they may write to `/etc`.
fn untouched(machine: &mut Machine) -> String {
    machine.run(
        "for unit in nginx systemd-logind systemd-networkd systemd-resolved systemd-timesyncd; do \
         pid=$(systemctl show -p MainPID --value $unit.service); [ \"$pid\" != 0 ] || continue; \
         may=$(nsenter -t $pid -m sh -c 'touch /etc/.probe 2>/dev/null && rm /etc/.probe && echo writes || echo reads'); \
         echo $unit $pid $may; done",
    )
}

#[test]
#[ignore = "`make boot` runs it"]
fn a_machine_is_updated_beneath_its_services_and_goes_back_by_itself() {
    let test = "a_machine_is_updated_beneath_its_services_and_goes_back_by_itself";
    let Some(workshop) = Workshop::open(test) else {
        return;
    };
    let mut fleet = Fleet::new(&workshop, "web-live");
    put_waiter(&fleet, "1");
    fleet.build();
    let disk = fleet.export();
    let hardware = Hardware::new(Firmware::Uefi, &disk.path, "qcow2");
    let start = || Machine::start(test, &hardware);
    let Some(mut machine) = start() else {
        return;
    };
    expect_settled(&mut machine, 1);
    expect_page(&machine, "version 1");
    // nginx ends a connection after 1000 requests otherwise.
    machine.run(
        "echo 'keepalive_requests 1000000;' >/etc/nginx/conf.d/long.conf; systemctl reload nginx",
    );
    let before = untouched(&mut machine);
    eprintln!("{before}");
    assert!(
        before.contains("nginx") && before.contains("writes") && before.contains("reads"),
        "{before}"
    );
    machine.run(
        "setsid sh -c 'echo $$ >/run/waiter; exec /usr/lib/hello/waiter 100000' >/dev/null 2>&1 </dev/null & \
         echo mine >/etc/mine",
    );

    put_waiter(&fleet, "2");
    fleet.release(PAGE, "version 1", "version 2");
    fleet.introduce(&mut machine);
    let said = machine.run("layerset deploy --channel web-live/stable --dry-run");
    assert!(said.contains("the switch would be live"), "{said}");
    let client = Client::connect(machine.http);
    machine.run("systemctl restart hello");
    expect_page(&machine, "version 1");
    client.finish("systemctl restart");

    let client = Client::connect(machine.http);
    let started = Instant::now();
    let said = machine.run("layerset deploy --channel web-live/stable");
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("live update: {seconds:.1} s from command to healthy\n{said}");
    assert!(
        said.contains("switched from generation 1 to generation 2")
            && said.contains("restarted hello.service\n")
            && said.contains("generation 2 is good"),
        "{said}"
    );
    expect_page(&machine, "version 2");
    client.finish("live update");
    // PIDs, and what each may do, are as before.
    assert_eq!(untouched(&mut machine), before);
    assert_eq!(machine.run("cat /etc/mine"), "mine\n");
    let status = machine.run("layerset status");
    assert!(status.contains("* generation 2, current"), "{status}");
    let history = machine.run("layerset history");
    assert!(
        history.contains("deployed generation 2 in place of generation 1"),
        "{history}"
    );
    let old = machine.run("layerset status --running");
    assert!(
        old.contains("waiter") && old.contains("/usr/lib/hello/waiter") && !old.contains("nginx"),
        "{old}"
    );
    machine.run("pid=$(cat /run/waiter); kill $pid; while [ -e /proc/$pid ]; do sleep 0.1; done");
    let old = machine.run("layerset status --running");
    assert!(old.contains("no program runs a file"), "{old}");

    let client = Client::connect(machine.http);
    let said = machine.run("layerset rollback");
    assert!(
        said.contains("switched from generation 2 to generation 1")
            && said.contains("generation 1 is good"),
        "{said}"
    );
    expect_page(&machine, "version 1");
    client.finish("live rollback");
    assert_eq!(untouched(&mut machine), before);

    // By itself: the page is there, and its health check fails.
    fleet.release(SERVER, "'OK', \"ok\\n\"", "'OK', \"not well\\n\"");
    let client = Client::connect(machine.http);
    let said = machine.run("layerset update || echo status $?");
    assert!(
        said.contains("generation 3 failed, and is marked bad: hello answers")
            && said.contains("generation 1 runs again")
            && said.contains("status 3"),
        "{said}"
    );
    expect_page(&machine, "version 1");
    client.finish("live update that fails, and the way back");
    assert_eq!(untouched(&mut machine), before);
    let status = machine.run("layerset status");
    assert!(
        status.contains("* generation 1, current")
            && status.contains("generation 3 is marked bad: hello answers"),
        "{status}"
    );
    let said = machine.run("layerset update");
    assert!(
        said.contains("nothing to deploy") && said.contains("bad"),
        "{said}"
    );

    // What lies elsewhere takes a start of all services, and of nothing else.
    fs::create_dir_all(fleet.path("layers/hello/files/mnt")).unwrap();
    fs::write(fleet.path("layers/hello/files/mnt/base"), "x").unwrap();
    fleet.release(SERVER, "'OK', \"not well\\n\"", "'OK', \"ok\\n\"");
    let said = machine.run("layerset update --dry-run");
    assert!(
        said.contains("the switch would be by soft reboot: '/mnt/base' changes"),
        "{said}"
    );
    let said = machine.run("layerset update --no-reboot");
    assert!(said.contains("generation 4 starts next"), "{said}");
    let port = machine.http;
    let page = std::thread::spawn(move || outage(port, "version 2"));
    machine.run("layerset rollback --to 4 --when now");
    // The shell of these tests comes with the start of a kernel, so from here on the page tells.
    eprintln!(
        "soft reboot: outage of the page {:.1} s",
        page.join().unwrap().as_secs_f64()
    );
    assert!(machine.is_alive(), "the machine restarted");

    // The power goes. What was started anew is what the machine starts with.
    drop(machine);
    let mut machine = start().unwrap();
    expect_settled(&mut machine, 4);
    assert_eq!(machine.run("cat /mnt/base /etc/mine"), "xmine\n");
    assert_eq!(machine.run("findmnt -n -o SOURCE /"), "layerset:4\n");

    // That root can be updated as the first one.
    fleet.release(PAGE, "version 2", "version 3");
    let client = Client::connect(machine.http);
    let said = machine.run("layerset update");
    assert!(said.contains("generation 5 is good"), "{said}");
    expect_page(&machine, "version 3");
    client.finish("live update after a soft reboot");
    machine.restart();
    let mut machine = start().unwrap();
    expect_settled(&mut machine, 5);
    expect_page(&machine, "version 3");
}
