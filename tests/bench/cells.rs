//! The cells: which operations, on which objects, in which order.
//!
//! Objects are written by the PUT cells and then read, listed and deleted; where PUT is not asked for, its cells
//! run all the same and are not told. Every cell has a place of its own in the key space, so a PUT never
//! replaces an object. A bucket is emptied by its DELETE cells and removed.

use hyper::Method;

use crate::Outcome;
use crate::connection::Connection;
use crate::load::{Measured, Operation, Prepared, drive};
use crate::options::{LARGE, Options};
use crate::requests::{Body, Signer};
use crate::server::Server;
use crate::table::{Report, Row};

/// Keys of one page and of one bulk delete.
const PAGE_KEYS: usize = 1000;

/// Objects that hot reads go round, each read once before. Large ones: as many as there are.
const HOT_OBJECTS: usize = 1000;

/// Length of a part, in bytes: 8 MiB, the size the AWS command line uses.
const PART_BYTES: usize = 8 << 20;

/// Seconds in which a preparation is done whatever happens.
const PREPARATION_S: f64 = 600.0;

/// Steps through keys in an order that is not that of writing: a prime beyond any count of keys.
const STRIDE: usize = 1_000_003;

/// What every cell needs.
struct Bench<'a> {
    options: &'a Options,
    server: &'a Server,
    report: &'a mut Report,
}

/// Objects of one size, as its PUT cells left them: so many under each number of clients.
struct Objects {
    bucket: String,
    size_bytes: usize,
    cells: Vec<(usize, usize)>,
}

impl Objects {
    fn target(&self, clients: usize, number: usize) -> String {
        format!("/{}/{}", self.bucket, key(clients, number))
    }

    /// All objects, out of the order of writing.
    fn shuffled(&self) -> Vec<String> {
        let all: Vec<String> = self
            .cells
            .iter()
            .flat_map(|(clients, count)| (0..*count).map(|number| self.target(*clients, number)))
            .collect();
        (0..all.len()).map(|at| all[at.wrapping_mul(STRIDE) % all.len()].clone()).collect()
    }
}

fn key(clients: usize, number: usize) -> String {
    format!("clients-{clients:02}/{number:08}")
}

/// Measures every cell that is asked for.
///
/// # Errors
///
/// What is not one failed request: those are counted.
pub(crate) async fn measure(options: &Options, server: &Server, report: &mut Report) -> Outcome<()> {
    let mut bench = Bench { options, server, report };
    if options.wants_any(&["put", "head", "get", "cold", "list", "delete"]) {
        for size_bytes in options.sizes() {
            bench.size(size_bytes).await?;
        }
    }
    if options.wants("bulk") {
        bench.bulk_delete().await?;
    }
    if options.wants("multipart") {
        bench.multipart().await?;
    }
    Ok(())
}

impl Bench<'_> {
    /// All cells of one size.
    async fn size(&mut self, size_bytes: usize) -> Outcome<()> {
        let bucket = format!("bench-{size_bytes}");
        self.once(Method::PUT, &format!("/{bucket}")).await?;
        let mut objects = Objects { bucket, size_bytes, cells: Vec::new() };
        for clients in self.options.clients(size_bytes) {
            let written = self.put(&objects, clients).await?;
            objects.cells.push((clients, written));
        }
        let is_small = size_bytes == self.options.sizes()[0];
        if self.options.wants("head") && is_small {
            self.read(&objects, ("HEAD", 0), Method::HEAD).await?;
        }
        if self.options.wants("get") {
            self.read(&objects, ("GET", size_bytes), Method::GET).await?;
        }
        if self.options.wants("cold") {
            self.read_cold(&objects).await?;
        }
        if self.options.wants("list") && is_small {
            self.list(&objects).await?;
        }
        self.delete(&objects, is_small).await?;
        self.once(Method::DELETE, &format!("/{}", objects.bucket)).await
    }

    /// One request that must succeed.
    async fn once(&self, method: Method, target: &str) -> Outcome<()> {
        let mut connection = Connection::open(&self.server.authority).await?;
        connection.exchange(self.server.signer.request(method, target, &Body::none())?).await?;
        Ok(())
    }

    fn requests(
        &self,
        method: Method,
        targets: impl Iterator<Item = String>,
        body: &Body,
    ) -> Outcome<Prepared> {
        let requests: Outcome<Vec<_>> =
            targets.map(|target| self.server.signer.request(method.clone(), &target, body)).collect();
        Ok(Prepared::new(requests?))
    }

    /// Runs a cell and notes what it cost the server.
    async fn cell<O: Operation + 'static>(
        &self,
        (name, size_bytes, clients): (&'static str, usize, usize),
        operation: O,
    ) -> Outcome<(Measured, Row)> {
        let cpu = |server: &Server| server.process.map(|process| process.cpu_seconds()).transpose();
        let before = cpu(self.server)?;
        let measured = drive(&self.server.authority, clients, self.options.seconds, operation).await?;
        let mut row = Row::new(name, size_bytes, clients, &measured);
        row.cpu_s = cpu(self.server)?.zip(before).map(|(after, before)| after - before);
        row.resident_bytes = self.server.process.map(|process| process.resident_bytes()).transpose()?;
        Ok((measured, row))
    }

    async fn put(&mut self, objects: &Objects, clients: usize) -> Outcome<usize> {
        let body = Body::noise(objects.size_bytes);
        let count = self.options.requests_max(objects.size_bytes, clients);
        let targets = (0..count).map(|number| objects.target(clients, number));
        let requests = self.requests(Method::PUT, targets, &body)?;
        let disk = self.server.disk_bytes();
        let (measured, mut row) = self.cell(("PUT", objects.size_bytes, clients), requests).await?;
        let written = measured.operations + measured.failures;
        row.disk_bytes = self
            .server
            .disk_bytes()
            .zip(disk)
            .map(|(after, before)| after.saturating_sub(before) / written.max(1) as u64);
        if self.options.wants("put") {
            self.report.add(row);
        }
        Ok(written)
    }

    async fn read(
        &mut self,
        objects: &Objects,
        (name, moved_bytes): (&'static str, usize),
        method: Method,
    ) -> Outcome<()> {
        let mut hot = objects.shuffled();
        hot.truncate(HOT_OBJECTS);
        let warm = self.requests(Method::GET, hot.iter().cloned(), &Body::none())?;
        drive(&self.server.authority, 4, PREPARATION_S, warm).await?;
        for clients in self.options.clients(objects.size_bytes) {
            let count = self.options.requests_max(objects.size_bytes, clients);
            let requests =
                self.requests(method.clone(), hot.iter().cycle().take(count).cloned(), &Body::none())?;
            let (_, row) = self.cell((name, moved_bytes, clients), requests).await?;
            self.report.add(row);
        }
        Ok(())
    }

    /// Reads of objects the kernel holds nothing of, each once.
    async fn read_cold(&mut self, objects: &Objects) -> Outcome<()> {
        if !self.server.forget_cached() {
            return Ok(());
        }
        let clients = if objects.size_bytes == LARGE { 4 } else { 16 };
        let count = self.options.requests_max(objects.size_bytes, clients);
        let requests =
            self.requests(Method::GET, objects.shuffled().into_iter().take(count), &Body::none())?;
        let (_, row) = self.cell(("GET cold", objects.size_bytes, clients), requests).await?;
        self.report.add(row);
        Ok(())
    }

    /// Pages that begin anywhere in the bucket and are full.
    async fn list(&mut self, objects: &Objects) -> Outcome<()> {
        let Some((of, written)) = objects.cells.iter().max_by_key(|(_, written)| *written).copied() else {
            return Ok(());
        };
        let Some(starts) = written.checked_sub(PAGE_KEYS).filter(|starts| *starts > 0) else {
            return Err(format!("{written} objects are too few for full pages").into());
        };
        for clients in self.options.clients(objects.size_bytes) {
            let count = self.options.requests_max(objects.size_bytes, clients) / 10;
            let targets = (0..count).map(|number| {
                let after = key(of, number * STRIDE % starts).replace('/', "%2F");
                format!("/{}?list-type=2&max-keys={PAGE_KEYS}&start-after={after}", objects.bucket)
            });
            let requests = self.requests(Method::GET, targets, &Body::none())?;
            let (_, row) = self.cell(("LIST", 0, clients), requests).await?;
            self.report.add(row);
        }
        Ok(())
    }

    /// Deletes of every object, by as many clients as wrote it; the small ones are measured.
    async fn delete(&mut self, objects: &Objects, is_measured: bool) -> Outcome<()> {
        for (clients, written) in &objects.cells {
            let targets = (0..*written).map(|number| objects.target(*clients, number));
            let requests = self.requests(Method::DELETE, targets, &Body::none())?;
            let count = requests.count();
            let (measured, row) = self.cell(("DELETE", 0, *clients), requests).await?;
            if self.options.wants("delete") && is_measured {
                self.report.add(row);
            }
            // What the time did not suffice for.
            let done = measured.operations + measured.failures;
            let rest = (done..count).map(|number| objects.target(*clients, number));
            let rest = self.requests(Method::DELETE, rest, &Body::none())?;
            drive(&self.server.authority, 64, PREPARATION_S, rest).await?;
        }
        Ok(())
    }

    /// Deletes of 1,000 keys in a request.
    async fn bulk_delete(&mut self) -> Outcome<()> {
        let bucket = "bench-bulk";
        self.once(Method::PUT, &format!("/{bucket}")).await?;
        let plan: &[(usize, usize)] =
            if self.options.quick { &[(16, 48)] } else { &[(1, 48), (16, 96), (64, 128)] };
        for (clients, pages) in plan.iter().copied() {
            let targets = (0..pages * PAGE_KEYS).map(|number| format!("/{bucket}/{}", key(clients, number)));
            let puts = self.requests(Method::PUT, targets, &Body::noise(1 << 10))?;
            drive(&self.server.authority, 64, PREPARATION_S, puts).await?;
            let requests: Outcome<Vec<_>> = (0..pages)
                .map(|page| {
                    self.server.signer.request(
                        Method::POST,
                        &format!("/{bucket}?delete"),
                        &page_of(clients, page),
                    )
                })
                .collect();
            let (measured, mut row) =
                self.cell(("bulk delete", 0, clients), Prepared::new(requests?)).await?;
            row.each = PAGE_KEYS;
            self.report.add(row);
            if measured.operations < pages {
                return Err("the bulk deletes took too long".into());
            }
        }
        self.once(Method::DELETE, &format!("/{bucket}")).await
    }

    /// Uploads of 64 MiB in parts of 8 MiB, the parts one after the other.
    async fn multipart(&mut self) -> Outcome<()> {
        let bucket = "bench-multipart";
        self.once(Method::PUT, &format!("/{bucket}")).await?;
        for clients in self.options.clients(LARGE) {
            let count = self.options.requests_max(LARGE, clients);
            let target = |number| format!("/{bucket}/{}", key(clients, number));
            let uploads = Uploads {
                targets: (0..count).map(target).collect(),
                signer: self.server.signer.clone(),
                part: Body::noise(PART_BYTES),
                parts: LARGE / PART_BYTES,
            };
            let (measured, row) = self.cell(("multipart", LARGE, clients), uploads).await?;
            self.report.add(row);
            let targets = (0..measured.operations + measured.failures).map(target);
            let deletes = self.requests(Method::DELETE, targets, &Body::none())?;
            drive(&self.server.authority, 4, PREPARATION_S, deletes).await?;
        }
        self.once(Method::DELETE, &format!("/{bucket}")).await
    }
}

/// The document of one bulk delete.
fn page_of(clients: usize, page: usize) -> Body {
    let mut document = String::from("<Delete><Quiet>true</Quiet>");
    for number in page * PAGE_KEYS..(page + 1) * PAGE_KEYS {
        document.push_str("<Object><Key>");
        document.push_str(&key(clients, number));
        document.push_str("</Key></Object>");
    }
    document.push_str("</Delete>");
    Body::new(document.into()).with_md5()
}

/// Multipart uploads, each one operation from Create to Complete.
struct Uploads {
    targets: Vec<String>,
    signer: Signer,
    part: Body,
    parts: usize,
}

impl Operation for Uploads {
    async fn run(&self, connection: &mut Connection, number: usize) -> Outcome<u64> {
        let target = &self.targets[number];
        let nothing = Body::none();
        let created = self.signer.request(Method::POST, &format!("{target}?uploads"), &nothing)?;
        let answer = String::from_utf8(connection.read(created).await?.into_body().to_vec())?;
        let id = answer.split("<UploadId>").nth(1).and_then(|rest| rest.split('<').next());
        let id = id.ok_or("no UploadId in the answer")?;
        let mut document = String::from("<CompleteMultipartUpload>");
        for part in 1..=self.parts {
            let place = format!("{target}?partNumber={part}&uploadId={id}");
            let answer = connection.read(self.signer.request(Method::PUT, &place, &self.part)?).await?;
            let tag = answer.headers().get("etag").ok_or("a part without an entity tag")?.to_str()?;
            document.push_str(&format!("<Part><PartNumber>{part}</PartNumber><ETag>{tag}</ETag></Part>"));
        }
        document.push_str("</CompleteMultipartUpload>");
        let complete = Body::new(document.into());
        let place = format!("{target}?uploadId={id}");
        connection.exchange(self.signer.request(Method::POST, &place, &complete)?).await
    }

    fn count(&self) -> usize {
        self.targets.len()
    }
}
