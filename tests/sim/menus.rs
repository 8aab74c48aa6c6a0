//! The store as the menu sees it: what subscribers ask for by keys, and what comes of that.

use maskline::domain::menu::{CallCode, MenuAnswer, MenuQuestion, MenuRequest, PastCall};
use maskline::domain::purpose::Purpose;

use crate::world::World;

/// The code of every call of every story.
pub(crate) const CODE: &str = "470470";

const CALL: PastCall = PastCall { purpose: Purpose::Unspecified, days_ago: 0 };

impl World {
    /// Does what a subscriber wants. It is in force before the answer is there.
    pub(crate) fn answer_menu(&mut self, question: &MenuQuestion) -> MenuAnswer {
        let Some(party) = self.store.find_binding_of(Some(question.binding)) else {
            return MenuAnswer::Failed;
        };
        match question.request {
            MenuRequest::Check(code) => {
                let is_right = Some(code) == CallCode::parse(CODE);
                MenuAnswer::Checked(is_right.then_some(CALL))
            }
            MenuRequest::Callers => MenuAnswer::Callers(vec![CALL]),
            MenuRequest::Pause => {
                self.commit(|facts| _ = facts.paused.insert(party));
                self.store.invalidate();
                MenuAnswer::Done
            }
            MenuRequest::BlockLast => {
                let agent = self.witness.borrow().last_agent(question.binding);
                let Some(agent) = agent else { return MenuAnswer::NoCalls };
                self.commit(|facts| _ = facts.blocked.insert((agent, party.1)));
                self.store.invalidate();
                MenuAnswer::Done
            }
            MenuRequest::ReportLast => MenuAnswer::NoCalls,
        }
    }
}
