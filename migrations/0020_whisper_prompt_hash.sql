-- What was said to a subscriber is proved by a hash of how it sounds, without the digits of numbers. From here on
-- `whisper_prompt` holds the names of the clips, which stay; before, it held numbers, which could move.

alter table cdr add column whisper_prompt_hash bytea
    constraint cdr_whisper_prompt_hash_length check (length(whisper_prompt_hash) = 32);
