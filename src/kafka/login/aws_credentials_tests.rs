//! Each source of credentials, with an environment and endpoints that are played here.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::observe::test_support::PATIENCE;

const JSON: &str = r#"{"Code":"Success","AccessKeyId":"AKID","SecretAccessKey":"hunter2",
    "Token":"session","Expiration":"2026-11-26T16:00:00Z"}"#;

fn find(variables: &[(&str, &str)]) -> Result<Credentials, String> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let var = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    Finder { var: &var, region: "eu-west-1" }.find()
}

fn expected(expires_at: bool) -> Credentials {
    Credentials {
        key_id: "AKID".to_owned(),
        secret: Secret::from("hunter2"),
        session_token: Some(Secret::from("session")),
        expires_at: expires_at.then_some(Duration::from_secs(1_795_708_800)),
    }
}

/// Answers each request in turn; the heads of the requests come back.
fn endpoint(answers: Vec<(&'static str, String)>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (asked, received) = channel();
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (stream, _) = listener.accept().expect("a connection");
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap_or(0) > 0 {}
            let length = head.to_ascii_lowercase();
            let length = length.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length = length.map_or(0, |length| length.trim().parse().expect("a number"));
            let mut form = vec![0; length];
            std::io::Read::read_exact(&mut stream, &mut form).expect("a body");
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.get_mut().write_all(answer.as_bytes());
            let _ = asked.send(head + &String::from_utf8_lossy(&form));
        }
    });
    (url, received)
}

#[test]
fn the_environment_goes_before_everything_else() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_SESSION_TOKEN", "session"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/"),
    ];
    assert_eq!(find(&variables), Ok(expected(false)));
    let none = find(&[("AWS_EC2_METADATA_DISABLED", "true")]).expect_err("none");
    assert!(none.contains("docs/security.md"), "{none}");
}

#[test]
fn a_profile_has_keys_or_a_command_that_prints_them() {
    let home = tempfile::tempdir().expect("a directory");
    let aws = home.path().join(".aws");
    fs::create_dir(&aws).expect("a directory");
    let credentials = "[other]\naws_access_key_id = X\n[default]\n; aws_access_key_id = Y\n\
                       aws_access_key_id = AKID\naws_secret_access_key=hunter2\n\
                       aws_session_token = session\n";
    fs::write(aws.join("credentials"), credentials).expect("written");
    fs::write(aws.join("json"), JSON.replace("Token", "SessionToken")).expect("written");
    let command = format!("cat '{}'", aws.join("json").display());
    let config = format!(
        "[profile made]\ncredential_process = {command}\n[profile bad]\ncredential_process = echo \
         hunter2\n[profile gone]\ncredential_process = exit 3\n"
    );
    fs::write(aws.join("config"), config).expect("written");
    let of = |profile: Option<&str>| {
        let home = home.path().to_str().expect("UTF-8");
        let profile = profile.map(|profile| ("AWS_PROFILE", profile));
        find(&[("HOME", home)].into_iter().chain(profile).collect::<Vec<_>>())
    };
    assert_eq!(of(None), Ok(expected(false)));
    assert_eq!(of(Some("made")), Ok(expected(true)));
    let bad = of(Some("bad")).expect_err("no JSON");
    assert!(bad.contains("profile bad: expected JSON") && !bad.contains("hunter2"), "{bad}");
    let gone = of(Some("gone")).expect_err("failed");
    assert!(gone.contains("it ended with exit status: 3"), "{gone}");
    let unknown = of(Some("nobody")).expect_err("no such profile");
    assert!(unknown.contains("the profile nobody"), "{unknown}");
}

#[test]
fn a_command_that_does_not_end_is_ended() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let left_behind = format!("sleep 60 & echo $! > {}; echo '{{}}'", file.path().display());
    for command in ["exec sleep 60", &left_behind, "sleep 60; true"] {
        let error = of_process(command, Duration::from_millis(500)).expect_err("too long");
        assert!(error.contains("not done within 500ms, and killed"), "{error}");
    }
    // With all that it has left behind.
    let child = fs::read_to_string(file.path()).expect("it was started");
    let deadline = std::time::Instant::now() + PATIENCE;
    let runs = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
    };
    while runs() {
        assert!(std::time::Instant::now() < deadline, "it lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
    let much = of_process("yes", WITHIN).expect_err("too much");
    assert!(much.contains("more than 65536 bytes"), "{much}");
}

#[test]
fn the_endpoint_of_sts_is_that_of_the_region_and_of_its_domain() {
    assert_eq!(sts("eu-west-1"), "https://sts.eu-west-1.amazonaws.com/");
    assert_eq!(sts("cn-north-1"), "https://sts.cn-north-1.amazonaws.com.cn/");
}

#[test]
fn a_container_asks_its_endpoint_with_the_token_of_a_file() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "pod-token\n").expect("written");
    let (url, asked) = endpoint(vec![("200 OK", JSON.to_owned())]);
    let url = format!("{url}/v1/credentials");
    let token = file.path().to_str().expect("UTF-8");
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token),
    ];
    assert_eq!(find(&variables), Ok(expected(true)));
    let asked = asked.recv().expect("a request");
    assert!(asked.starts_with("GET /v1/credentials "), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("authorization: pod-token\r\n"), "{asked}");
    for (url, is_good) in [
        ("http://169.254.170.2/x", true),
        ("http://169.254.170.23/x", true),
        ("http://[fd00:ec2::23]/x", true),
        ("http://localhost:8080/x", true),
        ("https://example.com/x", true),
        ("http://example.com/x", false),
        ("http://10.0.0.1/x", false),
        ("x", false),
    ] {
        assert_eq!(is_trusted(url), is_good, "{url}");
    }
}

#[test]
fn a_machine_asks_the_metadata_service_in_a_session() {
    let answers = ["hidden", "role\n", JSON].map(|body| ("200 OK", body.to_owned()));
    let (url, asked) = endpoint(answers.into());
    assert_eq!(find(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]), Ok(expected(true)));
    let asked: Vec<_> = asked.iter().map(|head| head.to_ascii_lowercase()).collect();
    assert!(asked[0].starts_with("put /latest/api/token "), "{asked:?}");
    assert!(asked[0].contains("x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n"), "{asked:?}");
    assert!(asked[2].starts_with("get /latest/meta-data/iam/security-credentials/role "));
    assert!(asked[2].contains("x-aws-ec2-metadata-token: hidden\r\n"), "{asked:?}");
    let (url, _asked) = endpoint(vec![("403 Forbidden", String::new())]);
    let refused = find(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]).expect_err("refused");
    assert!(refused.ends_with("says: HTTP 403"), "{refused}");
}

#[test]
fn a_pod_with_a_role_asks_sts() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "jwt\n").expect("written");
    let xml = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
               <AccessKeyId>AKID</AccessKeyId><SecretAccessKey>hunter2</SecretAccessKey>\
               <SessionToken>session</SessionToken><Expiration>2026-11-26T16:00:00Z</Expiration>\
               </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
    let refusal = "<ErrorResponse><Error><Message>Not authorized</Message></Error></ErrorResponse>";
    let answers = vec![("200 OK", xml.to_owned()), ("403 Forbidden", refusal.to_owned())];
    let (url, asked) = endpoint(answers);
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.path().to_str().expect("UTF-8")),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/x"),
        ("AWS_ENDPOINT_URL_STS", &*url),
    ];
    assert_eq!(find(&variables), Ok(expected(true)));
    let asked = asked.recv().expect("a request");
    assert!(asked.contains("Action=AssumeRoleWithWebIdentity"), "{asked}");
    assert!(asked.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx"), "{asked}");
    assert!(asked.ends_with("&WebIdentityToken=jwt"), "{asked}");
    let refused = find(&variables).expect_err("refused");
    assert_eq!(refused, "web identity: HTTP 403 Not authorized");
}
