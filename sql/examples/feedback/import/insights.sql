-- doc:   Insights from a CSV file with the columns ID and Title; those that are there already get the new title.
-- purge: tag:insights

INSERT INTO insights (id, title) VALUES (lower(:id), :title)
ON CONFLICT (id) DO UPDATE SET title = excluded.title;
