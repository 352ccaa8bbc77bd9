//! Why a mail is not answered: the closed list. The word is the metric label, the log word, and what the ledger keeps.
//!
//! The numbers are those of `docs/answering.md`.

use serde::{Deserialize, Serialize};

/// A reason not to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// 1: MAIL FROM is `<>` or has no `@`: a bounce, or nothing that could be answered.
    NullSender,
    /// 2: MAIL FROM or From is a daemon or a role.
    RoleSender,
    /// 3: From is an address or domain of our own.
    OwnAddress,
    /// 4: Not exactly one From field with exactly one mailbox that can be written back byte for byte.
    UnclearFrom,
    /// 5: The From domain cannot take mail.
    CannotTakeMail,
    /// 6: A local part beyond ASCII, and no sender for it.
    NonAsciiAddress,
    /// 7: On the block list.
    Blocked,
    /// 7: On the suppression list: mail to it bounced, or its owner does not want any.
    Suppressed,
    /// 7: From a mail farm.
    MailFarm,
    /// 8: No response is configured for the recipient.
    UnknownRecipient,
    /// 9: Mail for the operator: abuse, postmaster, complaints, bounces.
    OperatorMail,
    /// 10: Another recipient of the same mail is answered already.
    AnsweredAlready,
    /// 11: `Auto-Submitted` says that a machine sent it.
    AutoSubmitted,
    /// 12: A mailing list sent it.
    MailingList,
    /// 13: `Precedence` says bulk, list, junk or auto_reply.
    BulkPrecedence,
    /// 14: `X-Auto-Response-Suppress` asks for no answer.
    ResponseSuppressed,
    /// 15: The mark of an autoresponder.
    Autoresponder,
    /// 16: A delivery report, disposition notification or feedback report.
    Report,
    /// 17: It was with us before, or has been passed on too often.
    Loop,
    /// 18: Our own filter found spam or a virus.
    Filtered,
    /// 19: Too large, or its header breaks a limit.
    OverLimits,
    /// 19: There is no header that could be read.
    Unreadable,
    /// 19: Only a calendar entry or an encrypted message.
    NotText,
    /// 20: Too old to be answered.
    TooOld,
    /// 21: Nothing proves the sender far enough for anything that the address has.
    Unproven,
    /// 25: The sender had as many answers as there are to have.
    OverAllowance,
    /// 26: A domain, a network, an address of ours or the fleet had as many as there are to have.
    OverCap,
    /// 27: The sender has an answer to the same mail already.
    Repeated,
    /// 29: The operator has switched it off.
    SwitchedOff,
}

impl Reason {
    /// Every reason, in the order of the rules.
    pub const ALL: [Reason; 29] = [
        Reason::NullSender,
        Reason::RoleSender,
        Reason::OwnAddress,
        Reason::UnclearFrom,
        Reason::CannotTakeMail,
        Reason::NonAsciiAddress,
        Reason::Blocked,
        Reason::Suppressed,
        Reason::MailFarm,
        Reason::UnknownRecipient,
        Reason::OperatorMail,
        Reason::AnsweredAlready,
        Reason::AutoSubmitted,
        Reason::MailingList,
        Reason::BulkPrecedence,
        Reason::ResponseSuppressed,
        Reason::Autoresponder,
        Reason::Report,
        Reason::Loop,
        Reason::Filtered,
        Reason::OverLimits,
        Reason::Unreadable,
        Reason::NotText,
        Reason::TooOld,
        Reason::Unproven,
        Reason::OverAllowance,
        Reason::OverCap,
        Reason::Repeated,
        Reason::SwitchedOff,
    ];

    /// The word for logs, metrics and the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Reason::NullSender => "null_sender",
            Reason::RoleSender => "role_sender",
            Reason::OwnAddress => "own_address",
            Reason::UnclearFrom => "unclear_from",
            Reason::CannotTakeMail => "cannot_take_mail",
            Reason::NonAsciiAddress => "non_ascii_address",
            Reason::Blocked => "blocked",
            Reason::Suppressed => "suppressed",
            Reason::MailFarm => "mail_farm",
            Reason::UnknownRecipient => "unknown_recipient",
            Reason::OperatorMail => "operator_mail",
            Reason::AnsweredAlready => "answered_already",
            Reason::AutoSubmitted => "auto_submitted",
            Reason::MailingList => "mailing_list",
            Reason::BulkPrecedence => "bulk_precedence",
            Reason::ResponseSuppressed => "response_suppressed",
            Reason::Autoresponder => "autoresponder",
            Reason::Report => "report",
            Reason::Loop => "loop",
            Reason::Filtered => "filtered",
            Reason::OverLimits => "over_limits",
            Reason::Unreadable => "unreadable",
            Reason::NotText => "not_text",
            Reason::TooOld => "too_old",
            Reason::Unproven => "unproven",
            Reason::OverAllowance => "over_allowance",
            Reason::OverCap => "over_cap",
            Reason::Repeated => "repeated",
            Reason::SwitchedOff => "switched_off",
        }
    }

    /// The reason that `word` stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_stands_for_one_reason() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_word(reason.word()), Some(reason));
        }
    }
}
