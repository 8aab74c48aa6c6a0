//! The dialogs that one INVITE of ours opened: a fork answers with several To tags.

use super::{Dialog, NoDialog};
use crate::sip::limits::EARLY_DIALOGS_MAX;
use crate::sip::message::Message;

/// Dialogs side by side, told apart by the peer's tag.
#[derive(Clone, Debug, Default)]
pub struct EarlyDialogs {
    dialogs: Vec<Dialog>,
}

impl EarlyDialogs {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a response of 101 to 299 to our `invite`: finds its dialog or opens one, and confirms
    /// it when the response is a 2xx.
    ///
    /// # Errors
    /// [`NoDialog`] when the response cannot open one, or [`EARLY_DIALOGS_MAX`] are open.
    pub fn on_response(
        &mut self,
        invite: &Message,
        response: &Message,
    ) -> Result<&mut Dialog, NoDialog> {
        let known = self.dialogs.iter().position(|dialog| dialog.matches_response(response));
        if let Some(at) = known {
            let dialog = self.dialogs.get_mut(at).ok_or(NoDialog)?;
            if matches!(response.status(), Some(200..300)) {
                dialog.confirm(Some(response))?;
            }
            return Ok(dialog);
        }
        if self.dialogs.len() == EARLY_DIALOGS_MAX {
            return Err(NoDialog);
        }
        self.dialogs.push(Dialog::from_response(invite, response)?);
        self.dialogs.last_mut().ok_or(NoDialog)
    }

    /// The dialog of a response or a request of the peer.
    pub fn find_mut(&mut self, message: &Message) -> Option<&mut Dialog> {
        self.dialogs.iter_mut().find(|dialog| {
            if message.is_request() {
                dialog.matches_request(message)
            } else {
                dialog.matches_response(message)
            }
        })
    }

    /// Takes out the dialog with this remote tag, to keep it as the one of the call.
    pub fn take(&mut self, remote_tag: &[u8]) -> Option<Dialog> {
        let at = self.dialogs.iter().position(|dialog| dialog.remote_tag() == remote_tag)?;
        Some(self.dialogs.remove(at))
    }

    /// All of them, in the order in which they opened.
    pub fn iter(&self) -> impl Iterator<Item = &Dialog> {
        self.dialogs.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dialogs.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dialogs.is_empty()
    }
}
