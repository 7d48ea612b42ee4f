//! `tidings health`: asks a server on this machine whether it lives, for container engines.
//!
//! One `GET /minio/health/live`, without any client library, so that asking costs a few milliseconds. A TLS
//! certificate is not checked: the question is whether the server answers, not who it is, and no secret is
//! sent.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::cli::Flags;
use crate::config::{self, Address};
use crate::environment::{Variables, first};

/// How long connecting, sending and each read may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of an answer is read, in bytes: its first line is there.
const ANSWER_BYTES_MAX: usize = 4096;

/// Asks. `--address` is a URL or `host:port`; without it the port is that of `MINIO_ADDRESS`, and TLS is
/// spoken if there is a certificate where the server looks for one.
///
/// # Errors
///
/// Why the server cannot be said to live, a clause.
pub fn ask(flags: &Flags, environment: &Variables) -> Result<(), String> {
    let (is_tls, address) = destination(flags, environment)?;
    let host = if address.is_wildcard() { "127.0.0.1" } else { address.host.as_str() };
    let shown = format!("{host}:{}", address.port);
    let failed = |error: std::io::Error| format!("{shown} does not answer: {error}");
    let mut candidates = (host, address.port).to_socket_addrs().map_err(failed)?;
    let socket = candidates.next().ok_or_else(|| format!("{host} has no address"))?;
    let stream = TcpStream::connect_timeout(&socket, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let status = if is_tls {
        let connection = tls_connection(host).map_err(|error| format!("{shown}: {error}"))?;
        status(StreamOwned::new(connection, stream), &shown).map_err(failed)?
    } else {
        status(stream, &shown).map_err(failed)?
    };
    if status == "200" { Ok(()) } else { Err(format!("{shown} answers with status {status}")) }
}

fn destination(flags: &Flags, environment: &Variables) -> Result<(bool, Address), String> {
    if let Some((scheme, rest)) = flags.address.as_deref().and_then(|address| address.split_once("://")) {
        let is_tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(format!("'{scheme}' is neither http nor https")),
        };
        let authority = rest.split('/').next().unwrap_or(rest);
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let default_port = if is_tls { ":443" } else { ":80" };
        let address = format!("{authority}{}", if has_port { "" } else { default_port });
        return Ok((is_tls, Address::parse(&address)?));
    }
    let text = flags.address.as_deref().or_else(|| first(environment, &["MINIO_ADDRESS"])).unwrap_or(":9000");
    let is_tls = config::certs_dir(flags, environment).join("public.crt").is_file();
    Ok((is_tls, Address::parse(text)?))
}

/// Sends the request and gives the status of the answer.
fn status(mut stream: impl Read + Write, host: &str) -> std::io::Result<String> {
    let request = format!("GET /minio/health/live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    while !answer.contains(&b'\n') && answer.len() < ANSWER_BYTES_MAX {
        match stream.read(&mut piece)? {
            0 => break,
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
    let line = String::from_utf8_lossy(&answer);
    Ok(line.split_whitespace().nth(1).unwrap_or("(none)").to_owned())
}

fn tls_connection(host: &str) -> Result<ClientConnection, String> {
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())
}

/// Takes every certificate, see the module header.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn flags(address: &str) -> Flags {
        Flags { address: Some(address.to_owned()), ..Flags::default() }
    }

    #[test]
    fn the_destination_is_a_url_or_the_address_of_the_server() {
        let of = |address| destination(&flags(address), &Variables::new()).unwrap();
        assert_eq!(of("https://a.example/x"), (true, Address { host: "a.example".to_owned(), port: 443 }));
        assert_eq!(of("http://[::1]:9010"), (false, Address { host: "::1".to_owned(), port: 9010 }));
        assert_eq!(of(":9020"), (false, Address { host: String::new(), port: 9020 }));
        let nothing = destination(&Flags::default(), &Variables::new()).unwrap();
        assert_eq!(nothing, (false, Address { host: String::new(), port: 9000 }));
        assert!(destination(&flags("ftp://a"), &Variables::new()).is_err());
    }

    #[test]
    fn only_status_200_is_alive() {
        for (answer, wanted) in [("200 OK", true), ("503 Service Unavailable", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).unwrap();
                assert!(request[..read].starts_with(b"GET /minio/health/live HTTP/1.1\r\n"));
                write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").unwrap();
            });
            let asked = ask(&flags(&format!("http://{address}")), &Variables::new());
            server.join().unwrap();
            assert_eq!(asked.is_ok(), wanted, "{asked:?}");
        }
    }

    #[test]
    fn a_closed_port_is_not_alive() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let why = ask(&flags(&format!("127.0.0.1:{port}")), &Variables::new()).unwrap_err();
        assert!(why.starts_with(&format!("127.0.0.1:{port} does not answer")), "{why}");
    }
}
