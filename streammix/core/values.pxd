cpdef object level_key(object value)
cpdef bint is_missing(object value)
