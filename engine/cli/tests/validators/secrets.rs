//! Secrets reach the service, and nobody else.

use crate::support::{PAYER, ask, client, payment, policy, provider, run};
use catraca_node::validators::http::{Client, Outcome};
use std::fs;
use std::time::Duration;

#[test]
fn secrets_reach_the_service_and_are_never_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("token");
    fs::write(&file, "Bearer of-the-file\r\n").expect("written");
    // Cargo sets it for each test.
    let (variable, value) = ("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"));
    let required = format!(
        "require = {{ authorization = \"Bearer of-the-file\", x-key = {value:?}, x-plain = \"a\" }}\n"
    );
    let provider = provider(&required);
    let more = format!(
        "headers = {{ X-Plain = \"a\", Authorization = \"none\" }}\n\
         secret_headers = {{ Authorization = {{ file = {file:?} }}, X-Key = {{ env = \"{variable}\" }} }}\n"
    );
    run(async {
        let client = client(&format!("http://{}", provider.address), &more);
        let attempt = ask(&client).await;
        assert_eq!(attempt.outcome, Outcome::Answer(0), "{attempt:?}");
        let shown = client.shown(&payment(PAYER), false);
        let told = format!("{client:?} {attempt:?} {shown:?}");
        for secret in ["of-the-file", value, PAYER] {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
        let hidden = ("authorization".to_owned(), "***".to_owned());
        assert!(shown.headers.contains(&hidden) && !told.contains("none"), "{told}");
        assert_eq!(
            shown.url.as_deref().map(|url| url.ends_with("/people/***.982.247-**")),
            Ok(true)
        );
        let full = client.shown(&payment(PAYER), true).url.expect("it has all");
        assert!(full.ends_with(PAYER), "{full}");
        // A token that changes is sent from then on, and one that is gone changes nothing.
        fs::write(&file, "Bearer old-one").expect("written");
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(ask(&client).await.status, Some(401));
        fs::write(&file, "Bearer of-the-file").expect("written");
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(ask(&client).await.outcome, Outcome::Answer(0));
        fs::remove_file(&file).expect("removed");
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(ask(&client).await.outcome, Outcome::Answer(0));
    });
}

#[test]
fn a_secret_that_is_none_is_told_without_what_it_holds() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("token");
    for (holds, says) in [
        (Some("\n"), "it is empty"),
        (Some("hush\nhush"), "a control character"),
        (None, "could not be read"),
    ] {
        let _ = fs::remove_file(&file);
        if let Some(holds) = holds {
            fs::write(&file, holds).expect("written");
        }
        let more = format!("secret_headers = {{ x-key = {{ file = {file:?} }} }}");
        let policy = policy("http://localhost", &more);
        let fault = Client::new(&policy.services[0], &[7; 32]).expect_err("refused").to_string();
        assert!(fault.contains(says) && fault.contains("token"), "{fault}");
        assert!(!fault.contains("hush"), "{fault}");
    }
    let policy = policy(
        "http://localhost",
        "secret_headers = { x-key = { env = \"NO_SUCH_VARIABLE_HERE\" } }",
    );
    let fault = Client::new(&policy.services[0], &[7; 32]).expect_err("refused").to_string();
    assert!(fault.contains("NO_SUCH_VARIABLE_HERE: no secret"), "{fault}");
}
