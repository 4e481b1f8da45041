//! Conversations: what was said in them, their names and their end.

use std::time::Duration;

use crate::{
    chats::ChatPage,
    domain::{Caller, Conversation, ConversationId, Cursor, Listing, PageSize, Timestamp, Title},
    error::Error,
    store::{Page, Store},
};

/// For how long one call removes chats, well below the function's own 29 s.
const DELETION_BUDGET: Duration = Duration::from_secs(20);

/// One page of a user's conversations.
#[derive(Debug)]
pub struct ConversationPage {
    /// The conversations, newest first.
    pub conversations: Vec<Conversation>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// A conversation and a page of what was said in it.
#[derive(Debug)]
pub struct OneConversation {
    /// The conversation.
    pub conversation: Conversation,
    /// Its chats, newest first.
    pub chats: ChatPage,
}

/// Looks after conversations.
#[derive(Debug)]
pub struct Conversations {
    store: Store,
}

impl Conversations {
    /// The conversations in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// A page of the caller's conversations, newest first.
    ///
    /// # Errors
    /// A cursor of another listing; a caller whose claims no longer hold.
    pub async fn list(&self, caller: &Caller, cursor: Option<&str>, size: PageSize) -> Result<ConversationPage, Error> {
        let listing = Listing::Conversations(&caller.id);
        let after = cursor.map(|text| Cursor::decode(text, listing)).transpose()?;
        let Page { items, next } = self.store.list_conversations(caller, after.as_ref(), size).await?;
        Ok(ConversationPage {
            conversations: items,
            next_cursor: next.map(|next| next.encode(listing)),
        })
    }

    /// One conversation of the caller, with a page of its chats, newest first.
    ///
    /// # Errors
    /// [`Error::ConversationNotFound`], also for other people's; a cursor of another listing; a caller whose claims no longer hold.
    pub async fn one(
        &self,
        caller: &Caller,
        id: ConversationId,
        cursor: Option<&str>,
        size: PageSize,
    ) -> Result<OneConversation, Error> {
        let listing = Listing::ChatsIn(id);
        let after = cursor.map(|text| Cursor::decode(text, listing)).transpose()?;
        let (user, conversation, page) = self.store.list_chats_in(caller, id, after.as_ref(), size).await?;
        Ok(OneConversation {
            conversation,
            chats: ChatPage::new(user.id, size, page, listing),
        })
    }

    /// Gives a conversation of the caller another title.
    ///
    /// # Errors
    /// [`Error::ConversationNotFound`], also for other people's; a caller whose claims no longer hold.
    pub async fn rename(
        &self,
        caller: &Caller,
        id: ConversationId,
        title: Title,
        now: Timestamp,
    ) -> Result<Conversation, Error> {
        self.store.rename_conversation(caller, id, title, now).await
    }

    /// Deletes a conversation of the caller and everything that was said in it. What it cost stays spent. A deletion that was cut off goes on
    /// when it is asked for again.
    ///
    /// # Errors
    /// [`Error::ConversationNotFound`], also for other people's; [`Error::ConversationDeletionContinues`] if there was more than one call can
    /// remove; a caller whose claims no longer hold.
    pub async fn delete(&self, caller: &Caller, id: ConversationId, now: Timestamp) -> Result<(), Error> {
        self.store.close_conversation(caller, id).await?;
        let owner = caller.person();
        tokio::time::timeout(DELETION_BUDGET, self.store.remove_conversation(&owner, id, now))
            .await
            .unwrap_or(Err(Error::ConversationDeletionContinues))
    }
}
