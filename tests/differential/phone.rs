//! A phone made of rsipstack, as a second independent peer of the relay: one call out or in.
//!
//! usage: phone call OWN RELAY FROM TO    calls, holds by re-INVITE, resumes by UPDATE, sends a key
//!                                        by INFO, hangs up
//!        phone answer OWN                rings, answers one call, takes what comes in the dialog,
//!                                        waits for the end
//!
//! Each step that succeeded is a line; it ends with 0 after the last one.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use rsipstack::EndpointBuilder;
use rsipstack::dialog::dialog::{Dialog, DialogState, DialogStateReceiver};
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::dialog::invitation::InviteOption;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::{Header, Method, Response, StatusCode, Uri};
use rsipstack::transaction::TransactionReceiver;
use rsipstack::transport::{TransportLayer, udp::UdpConnection};
use tokio_util::sync::CancellationToken;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn sdp(own: SocketAddr, version: u32, direction: &str) -> Vec<u8> {
    let ip = own.ip();
    format!(
        "v=0\r\no=- 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    )
    .into_bytes()
}

fn type_of(body: &str) -> Vec<Header> {
    vec![Header::ContentType(body.into())]
}

/// The step went well when it was answered 200.
fn done(step: &str, response: Option<&Response>) -> Outcome {
    let status = response.map(|response| response.status_code.clone());
    if status != Some(StatusCode::OK) {
        return Err(format!("{step}: {status:?}").into());
    }
    println!("{step}");
    Ok(())
}

async fn call(layer: &DialogLayer, own: SocketAddr, words: &[String]) -> Outcome {
    let [relay, from, to] = words else { return Err("call OWN RELAY FROM TO".into()) };
    let (states, mut changes) = layer.new_dialog_state_channel();
    // Nobody has to look at them, but somebody has to take them.
    tokio::spawn(async move { while changes.recv().await.is_some() {} });
    let option = InviteOption {
        callee: Uri::try_from(format!("sip:{to}@{relay}").as_str())?,
        caller: Uri::try_from(format!("sip:{from}@{own}").as_str())?,
        contact: Uri::try_from(format!("sip:{from}@{own}").as_str())?,
        content_type: Some("application/sdp".to_owned()),
        offer: Some(sdp(own, 1, "sendrecv")),
        support_prack: true,
        ..InviteOption::default()
    };
    let (dialog, answer) = layer.do_invite(option, states).await?;
    done("answered", answer.as_ref())?;
    converse(&dialog, own).await
}

async fn converse(dialog: &InviteDialog, own: SocketAddr) -> Outcome {
    let sdp_type = || Some(type_of("application/sdp"));
    let held = dialog.reinvite(sdp_type(), Some(sdp(own, 2, "sendonly"))).await?;
    done("held", held.as_ref())?;
    let back = dialog.update(sdp_type(), Some(sdp(own, 3, "sendrecv"))).await?;
    done("resumed", back.as_ref())?;
    let key = b"Signal=5\r\nDuration=160\r\n".to_vec();
    let key = dialog.info(Some(type_of("application/dtmf-relay")), Some(key)).await?;
    done("key sent", key.as_ref())?;
    dialog.bye().await?;
    println!("hung up");
    Ok(())
}

/// Answers what is asked while the call lasts; ends with it.
async fn watch(layer: &DialogLayer, mut changes: DialogStateReceiver, own: SocketAddr) -> Outcome {
    let mut version = 1;
    while let Some(state) = changes.recv().await {
        match state {
            DialogState::Calling(id) => {
                let Some(Dialog::Invite(dialog)) = layer.get_dialog(&id) else { continue };
                dialog.ringing(None, None)?;
                let body = sdp(own, version, "sendrecv");
                dialog.accept(Some(type_of("application/sdp")), Some(body))?;
                println!("answered");
            }
            DialogState::Updated(_, request, handle) => {
                version += 1;
                let text = String::from_utf8_lossy(&request.body).into_owned();
                let is_held = text.contains("a=sendonly");
                let body = sdp(own, version, if is_held { "recvonly" } else { "sendrecv" });
                let headers = Some(type_of("application/sdp"));
                handle.respond(StatusCode::OK, headers, Some(body)).await?;
                println!("{} by {}", if is_held { "held" } else { "resumed" }, request.method);
            }
            DialogState::Terminated(..) => {
                println!("ended");
                return Ok(());
            }
            _ => {}
        }
    }
    Err("the call has not ended".into())
}

/// Gives each request to the dialog it belongs to.
async fn serve(
    layer: Arc<DialogLayer>,
    mut incoming: TransactionReceiver,
    own: SocketAddr,
) -> Outcome {
    let (states, changes) = layer.new_dialog_state_channel();
    let watching = tokio::spawn({
        let layer = Arc::clone(&layer);
        async move { watch(&layer, changes, own).await }
    });
    tokio::spawn(async move {
        let contact = Uri::try_from(format!("sip:phone@{own}").as_str()).ok();
        while let Some(mut transaction) = incoming.recv().await {
            if transaction.original.method == Method::Options {
                transaction.reply(StatusCode::OK).await.ok();
                continue;
            }
            let known = layer.match_dialog(&transaction);
            let dialog = match known {
                Some(Dialog::Invite(dialog)) => Some(dialog),
                _ => layer
                    .get_or_create_server_invite(
                        &transaction,
                        states.clone(),
                        None,
                        contact.clone(),
                    )
                    .ok(),
            };
            let Some(mut dialog) = dialog else { continue };
            tokio::spawn(async move { dialog.handle(&mut transaction).await.ok() });
        }
    });
    watching.await?
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [role, own, rest @ ..] = &words[..] else { return Err("call or answer, and OWN".into()) };
    let own: SocketAddr = own.parse()?;
    let token = CancellationToken::new();
    let transports = TransportLayer::new(token.clone());
    let socket = UdpConnection::create_connection(own, None, Some(token.child_token())).await?;
    transports.add_transport(socket.into());
    let endpoint = EndpointBuilder::new()
        .with_cancel_token(token.clone())
        .with_transport_layer(transports)
        .build();
    let layer = Arc::new(DialogLayer::new(endpoint.inner.clone()));
    let incoming = endpoint.incoming_transactions()?;
    let inner = endpoint.inner.clone();
    tokio::spawn(async move { inner.serve().await });
    match role.as_str() {
        "call" => call(&layer, own, rest).await,
        "answer" => serve(layer, incoming, own).await,
        _ => Err("call or answer".into()),
    }
}
