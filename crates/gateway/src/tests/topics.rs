//! Topics: the calls of SNS, and the rules that name topics.

use std::sync::Arc;

use crate::config::Configuration;
use crate::testing::{Answer, Server};

/// The topic `1`, whose target is the server's target in memory.
const ARN: &str = "arn:aws:sns:::1";

async fn call(server: &Server, form: &str) -> Answer {
    let form_type = "application/x-www-form-urlencoded; charset=utf-8";
    server.post("/").service("sns").header("content-type", form_type).body(form).send().await
}

async fn create(server: &Server, attributes: &str) -> Answer {
    call(server, &format!("Action=CreateTopic&Version=2010-03-31&Name=1{attributes}")).await
}

fn rule(id: &str, filter: &str) -> String {
    format!(
        "<TopicConfiguration><Id>{id}</Id>{filter}<Event>s3:ObjectCreated:*</Event>\
         <Topic>{ARN}</Topic></TopicConfiguration>"
    )
}

fn key_filter(name: &str, value: &str) -> String {
    format!(
        "<Filter><S3Key><FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule></S3Key></Filter>"
    )
}

async fn put_rules(server: &Server, rules: &str) -> Answer {
    let document = format!("<NotificationConfiguration>{rules}</NotificationConfiguration>");
    server.put("/album?notification").body(document).send().await
}

async fn told(server: &Server) -> Vec<(String, Vec<String>, Vec<String>)> {
    let told = server.told().await.into_iter();
    told.filter(|change| !change.key.is_empty())
        .map(|change| (change.key, change.targets, change.rules))
        .collect()
}

#[tokio::test]
async fn a_topic_is_made_shown_changed_listed_and_removed() {
    let server = Server::start().await;
    let created = create(&server, "&push-endpoint=http%3A%2F%2Fh%2Fp&OpaqueData=me").await.expect(200);
    assert!(created.text().starts_with(
        "<CreateTopicResponse xmlns=\"https://sns.amazonaws.com/doc/2010-03-31/\"><CreateTopicResult>\
         <TopicArn>arn:aws:sns:::1</TopicArn></CreateTopicResult><ResponseMetadata><RequestId>"
    ));

    let get = format!("Action=GetTopicAttributes&TopicArn={ARN}");
    let shown = call(&server, &get).await.expect(200);
    assert_eq!(shown.elements("key"), ["User", "Name", "EndPoint", "TopicArn", "OpaqueData", "Policy"]);
    let endpoint = shown.elements("value")[2].clone();
    assert!(endpoint.contains(r#""EndpointAddress":"http://h/p""#), "{endpoint}");
    assert!(endpoint.contains(r#""TimeToLive":"None""#) && endpoint.contains(r#""Persistent":false"#));

    let set =
        format!("Action=SetTopicAttributes&TopicArn={ARN}&AttributeName=time_to_live&AttributeValue=60");
    call(&server, &set).await.expect(200);
    let listed = call(&server, "Action=ListTopics").await.expect(200);
    assert_eq!(
        [listed.element("Name"), listed.element("TimeToLive"), listed.element("OpaqueData")],
        ["1", "60", "me"]
    );
    let got = call(&server, &format!("Action=GetTopic&TopicArn={ARN}")).await.expect(200);
    assert_eq!((got.element("User"), got.text().contains("xmlns")), ("minioadmin".to_owned(), false));

    let delete = format!("Action=DeleteTopic&TopicArn={ARN}");
    call(&server, &delete).await.expect(200);
    call(&server, &delete).await.expect(200);
    assert_eq!(call(&server, &get).await.error(), (404, "NotFound".to_owned()));
    assert_eq!(call(&server, &set).await.error(), (404, "NotFound".to_owned()));
}

#[tokio::test]
async fn attributes_may_be_numbered_in_any_order_and_stand_in_the_query() {
    let server = Server::start().await;
    let entries = "&Attributes.entry.7.value=true&Attributes.entry.7.key=persistent\
                   &Attributes.entry.2.key=push-endpoint&Attributes.entry.2.value=http%3A%2F%2Fh";
    create(&server, entries).await.expect(200);
    let target = "/?Action=CreateTopic&Name=other&max_retries=3";
    server.post(target).send().await.expect(200);
    let listed = call(&server, "Action=ListTopics").await.expect(200);
    assert_eq!(listed.elements("Persistent"), ["true", "false"]);
    assert_eq!(listed.elements("MaxRetries"), ["None", "3"]);
}

#[tokio::test]
async fn what_cannot_be_a_topic_is_refused_with_a_sentence_and_nothing_is_stored() {
    let server = Server::start().await;
    for (attributes, sentence) in [
        ("&push-endpoint=ftp%3A%2F%2Fh", "push-endpoint has a scheme"),
        ("&push-endpoint=h", "push-endpoint looks like"),
        ("&persistent=perhaps", "persistent takes true or false."),
        ("&Attributes.entry.1.key=DisplayName&Attributes.entry.1.value=x", "no attribute DisplayName"),
        ("&push-endpoint=http%3A%2F%2Fu%3Ageheim%40h", "over TLS only"),
        (
            "&push-endpoint=https%3A%2F%2Fh&ca-location=%2Fetc%2Fpasswd",
            "ca-location names no file of certificates",
        ),
        ("&push-endpoint=https%3A%2F%2Fh&max_retries=-1", "max_retries takes a whole number or None."),
    ] {
        let answer = create(&server, attributes).await;
        assert_eq!(answer.error(), (400, "InvalidArgument".to_owned()), "{attributes}");
        assert!(answer.element("Message").contains(sentence), "{}", answer.text());
        assert!(!answer.text().contains("geheim"));
        assert_eq!(answer.element("Type"), "Sender");
    }
    for (form, expected) in [
        ("Action=CreateTopic", (400, "InvalidArgument")),
        ("Action=CreateTopic&Name=a%20b", (400, "InvalidArgument")),
        ("Action=GetTopicAttributes&TopicArn=x", (400, "InvalidArgument")),
        ("Action=Subscribe", (400, "InvalidAction")),
        ("Name=1", (400, "InvalidArgument")),
    ] {
        let (status, code) = call(&server, form).await.error();
        assert_eq!((status, code.as_str()), expected, "{form}");
    }
    assert_eq!(call(&server, "Action=ListTopics").await.elements("member"), Vec::<String>::new());
}

#[tokio::test]
async fn only_who_is_known_and_signed_the_form_may_call() {
    let server = Server::start().await;
    let form = "Action=ListTopics";
    let post = || server.post("/").header("content-type", "application/x-www-form-urlencoded").body(form);
    assert_eq!(post().anonymous().send().await.error(), (403, "AccessDenied".to_owned()));
    assert_eq!(post().secret("wrong-secret").send().await.error().0, 403);
    post().send().await.expect(200);
    let spoiled = post().spoiled(|_| b"Action=ListTopicz".to_vec()).send().await;
    assert_eq!(spoiled.error().0, 400, "{}", spoiled.text());
    let unsigned = post().payload_hash("UNSIGNED-PAYLOAD").send().await;
    assert_eq!(unsigned.error(), (400, "XAmzContentSHA256Mismatch".to_owned()));
}

#[tokio::test]
async fn a_rule_of_a_topic_tells_what_its_filters_let_through_with_its_id() {
    let server = Server::with_album().await;
    create(&server, "&push-endpoint=http%3A%2F%2Fh").await.expect(200);
    let metadata = "<Filter><S3Metadata><FilterRule><Name>x-amz-meta-color</Name><Value>red</Value></FilterRule>\
                    </S3Metadata></Filter>";
    let rules = rule("jpg", &key_filter("regex", r"([a-z]+)\.jpg")) + &rule("red", metadata);
    put_rules(&server, &rules).await.expect(200);

    server.put("/album/rose.jpg").body("x").send().await.expect(200);
    server.put("/album/a/rose.jpg").body("x").send().await.expect(200);
    server.put("/album/b").header("x-amz-meta-color", "red").body("x").send().await.expect(200);
    server.put("/album/c").header("x-amz-meta-color", "blue").body("x").send().await.expect(200);

    let named = |key: &str, id: &str| (key.to_owned(), vec!["1:topic".to_owned()], vec![id.to_owned()]);
    let silent = |key: &str| (key.to_owned(), vec![], vec![]);
    let expected = [named("rose.jpg", "jpg"), silent("a/rose.jpg"), named("b", "red"), silent("c")];
    assert_eq!(told(&server).await, expected);
    assert_eq!(server.target.wait_for(2).await.len(), 2);
}

#[tokio::test]
async fn rules_of_topics_are_merged_shown_one_by_one_and_removed_one_by_one() {
    let server = Server::with_album().await;
    create(&server, "").await.expect(200);
    put_rules(&server, &rule("a", "")).await.expect(200);
    put_rules(&server, &rule("b", &key_filter("prefix", "p/"))).await.expect(200);
    let all = server.get("/album?notification").send().await.expect(200);
    assert_eq!(all.elements("Id"), ["a", "b"]);

    let one = server.get("/album?notification=b").send().await.expect(200).text();
    let one = one.replace(" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"", "");
    let expected = rule("b", &key_filter("prefix", "p/"));
    assert_eq!(one, format!("<NotificationConfiguration>{expected}</NotificationConfiguration>"));
    let answer = server.get("/album?notification=c").send().await;
    assert_eq!(answer.error(), (404, "NoSuchKey".to_owned()));

    server.delete("/album?notification=a").send().await.expect(204);
    server.delete("/album?notification=a").send().await.expect(204);
    assert_eq!(server.get("/album?notification").send().await.elements("Id"), ["b"]);
    let answer = server.put("/album?notification=b").body("<NotificationConfiguration/>").send().await;
    assert_eq!(answer.error(), (400, "InvalidArgument".to_owned()));
}

#[tokio::test]
async fn a_rule_names_a_topic_that_is_there_with_or_without_an_endpoint() {
    let server = Server::with_album().await;
    let answer = put_rules(&server, &rule("a", "")).await;
    assert_eq!(answer.error(), (404, "NoSuchKey".to_owned()));

    create(&server, "").await.expect(200);
    put_rules(&server, &rule("a", "")).await.expect(200);
    server.put("/album/before").body("x").send().await.expect(200);
    create(&server, "&push-endpoint=http%3A%2F%2Fh").await.expect(200);
    server.put("/album/with").body("x").send().await.expect(200);
    call(&server, &format!("Action=DeleteTopic&TopicArn={ARN}")).await.expect(200);
    server.put("/album/after").body("x").send().await.expect(200);

    let targets: Vec<_> = told(&server).await.into_iter().map(|(_, targets, _)| targets.len()).collect();
    assert_eq!(targets, [0, 1, 0]);
    assert_eq!(server.get("/album?notification").send().await.elements("Id"), Vec::<String>::new());
}

#[tokio::test]
async fn a_topic_is_there_after_a_restart() {
    let server = Server::start().await;
    create(&server, "&push-endpoint=http%3A%2F%2Fh").await.expect(200);
    let (setup, environment) = (&server.gateway.setup, Arc::default());
    let again = Configuration::load(setup.store.clone(), setup.notifier.clone(), environment).await.unwrap();
    assert_eq!(again.topics(), setup.configuration.topics());
    assert_eq!(again.apply_targets().await, []);
    assert_eq!(again.topics()[0].value("push-endpoint"), "http://h");
}

#[tokio::test]
async fn two_who_add_rules_at_once_both_succeed() {
    let server = Server::with_album().await;
    create(&server, "").await.expect(200);
    let ids: Vec<String> = (0..8).map(|number| format!("r{number}")).collect();
    let rules: Vec<String> = ids.iter().map(|id| rule(id, "")).collect();
    let puts = rules.iter().map(|rule| put_rules(&server, rule));
    for answer in futures_util::future::join_all(puts).await {
        answer.expect(200);
    }
    let mut shown = server.get("/album?notification").send().await.elements("Id");
    shown.sort();
    assert_eq!(shown, ids);
}
