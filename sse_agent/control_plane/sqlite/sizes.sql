-- Bytes; what is paused or cancelled is reported without its size.
ALTER TABLE uploads ADD COLUMN file_size INTEGER;
