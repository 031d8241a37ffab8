"""Operations on the database that take several transactions."""
