-- What readers think of an insight: one voice for each reader, who may change it or take it back.
--
-- The constraints have names, because a refused write is answered with the name of what refused it. Feedback lies in the
-- order of its key, so all of one insight's is read in one go; the index has the comments alone, newest first.

CREATE TABLE insights (
    id    TEXT PRIMARY KEY
          CONSTRAINT insight_id CHECK (id GLOB '[a-z0-9]*' AND id NOT GLOB '*[^a-z0-9-]*' AND length(id) <= 64),
    title TEXT NOT NULL CONSTRAINT insight_title CHECK (length(title) BETWEEN 1 AND 200)
) STRICT, WITHOUT ROWID;

CREATE TABLE feedback (
    insight  TEXT NOT NULL REFERENCES insights (id) ON DELETE CASCADE,
    reader   TEXT NOT NULL CONSTRAINT reader_is_named CHECK (length(reader) BETWEEN 1 AND 64),
    vote     TEXT CONSTRAINT vote_is_up_or_down CHECK (vote IN ('up', 'down')),
    rating   INTEGER CONSTRAINT rating_is_1_to_5 CHECK (rating BETWEEN 1 AND 5),
    comment  TEXT CONSTRAINT comment_is_short CHECK (length(comment) BETWEEN 1 AND 1000),
    given_at INTEGER NOT NULL, -- seconds since the epoch
    PRIMARY KEY (insight, reader),
    CONSTRAINT feedback_says_something
        CHECK (vote IS NOT NULL OR rating IS NOT NULL OR comment IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE INDEX feedback_comments ON feedback (insight, given_at DESC) WHERE comment IS NOT NULL;
